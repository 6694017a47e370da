"""One request on its way through the models: its sentences read, their tokens made, sounded, put together.

A job says piece after piece. Where nobody hears a sentence while it is made, the tokens of several are made in one pass,
and each may be said several times (`takes.py`). `Pipeline` starts jobs; who wants their tokens made beside those of
others prepares them first (`batching.py`) or gives them a pool.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from threading import RLock
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .assembly import Assembly
from .bundle import Bundle
from .decoding import TokenDecoder
from .fitting import fitting, mel_prompt, mismatches
from .interventions import Part, PieceIntervention
from .joining import EdgeTrimmer, PieceDecoder, Wave, monotone_path
from .notes import PAUSE, Note, of_text
from .options import SynthesisOptions
from .pacing import FIRST_CHUNK, Spans
from .pieces import Piece, Script
from .sampling import check_seed, derive
from .sharing import SharedLock
from .synthesis import Synthesis
from .takes import Take, can_listen, check_takes, clarity, odds_said, seed_of_take
from .text import Phonemes, TextPipeline
from .token_pool import TokenPool, advance_together
from .voice import Voice
from .watch import Watch

TOKENS_PER_PHONEME = 14  # nobody speaks more slowly; the limit that keeps a run from going on
SIDE_BY_SIDE = 12  # sentences of a pass of the GPT
NO_EDITS = PieceIntervention()
NOTHING_YET: Wave = np.zeros(0, np.float32)  # of a stream among others: who waits may have a turn


class Means(Protocol):
    """What a job is done with: a `Pipeline`."""

    models: Bundle
    text: TextPipeline
    lock: RLock
    sounding: SharedLock


class Job:
    """One request on its way through the models."""

    def __init__(
        self, pipeline: Means, text: str, voice: Voice, options: SynthesisOptions, *, whole: bool
    ) -> None:
        self.models = pipeline.models
        self.lock, self.sounding = pipeline.lock, pipeline.sounding
        self.voice = fitting(self.models, voice)
        self.options = options.seeded().suited(self.models.config)
        self.seed = check_seed(self.options.seed)
        self.windowed = self.models.windowed and self.options.edits is None
        self.ahead = self.options.stream == "equal"
        self.whole = whole or not self.models.streams or (self.ahead and not self.windowed)
        self.unheard = self.whole or self.ahead  # nobody hears a sentence while it is made
        self.takes = self._takes("takes" in options.model_fields_set)
        self.group = (
            SIDE_BY_SIDE if whole else 1
        )  # sentences whose tokens are made in one pass, next
        self.read: deque[Piece] = deque()  # what is to be said next
        self.script = Script(
            text, pipeline.text, options.language, options.pause_ms, self.models.context
        )
        self.made = Assembly(self.models.generator.config.sample_rate)
        self.made.warnings.extend(mismatches(self.models, pipeline.text, voice))
        self.fingerprint = pipeline.text.fingerprint
        self.progress = 0.0
        self.phonemes = self._checked_edits(pipeline)
        self.pieces: list[Piece] | None = None  # read ahead by `prepare`
        self.decoders: dict[int, list[TokenDecoder]] = {}  # of pieces whose tokens are made ahead
        self.pool: TokenPool | None = None  # where its tokens are made beside those of others

    def _takes(self, asked: bool) -> int:
        """How often each sentence is said: once where it is heard while it is made, or where nobody follows the text."""
        if self.options.takes > 1 and not can_listen(self.models):
            if asked:
                check_takes(self.models, self.options.takes)
            return 1
        return self.options.takes if self.unheard and self.options.watch is not None else 1

    def _checked_edits(self, pipeline: Means) -> Phonemes | None:
        """Refuse edits that do not fit; read the whole text ahead where they speak of words."""
        edits = self.options.edits
        if edits is None:
            return None
        edits.check(self.models)
        self.made.warnings.extend(edits.warnings(self.models, self.voice))
        if not edits.by_word:
            return None
        ahead = Script(self.script.text, pipeline.text, self.options.language, 0)
        pieces = list(ahead)
        phonemes = ahead.phonemes()
        for piece in pieces:  # a word that is not there is an error before anything is said
            edits.on(self.models, phonemes, piece, 0)
        return phonemes

    def run(self) -> Generator[Wave, None, None]:
        """Speak piece after piece, with the pauses between."""
        silence_ms, exact = 0, False
        pieces = iter(self.script if self.pieces is None else self.pieces)
        number = 0
        while True:
            piece = self._next_piece(pieces, number)
            if piece is None:
                break
            if piece.spoken:
                yield from self._pause(silence_ms)
                yield from self._speak(piece, number)
                silence_ms, exact, number = 0, False, number + 1
            if piece.exact:  # the user's pauses add up and replace ours
                silence_ms, exact = (silence_ms if exact else 0) + piece.pause_ms, True
            elif not exact:
                silence_ms = piece.pause_ms
            self.progress = piece.end / len(self.script.text)
        yield from self._pause(silence_ms if exact else 0)
        self._last_words()

    def _next_piece(self, pieces: Iterator[Piece], number: int) -> Piece | None:
        """The piece to come. Where sentences are said side by side, some more are read, and the tokens of all of them made,
        before the first of them is handed out; `number` is its number, if it is spoken.
        """
        if not self.read:
            began = time.perf_counter()
            for piece in pieces:
                self.read.append(piece)
                if sum(one.spoken for one in self.read) >= self.group:
                    break
            self.made.spend("text", began)
            if self._side_by_side():
                self._make_tokens(number)
        return self.read.popleft() if self.read else None

    def _side_by_side(self) -> bool:
        """Whether the tokens of several sentences are made in one pass; not where published models are to be exact."""
        exact = self.models.precision == "float32" and not self.models.gpt.config.guided_heads
        alone = self.pieces is None and self.pool is None
        return self.unheard and alone and not (self.edited or exact)

    def _make_tokens(self, number: int) -> None:
        """Of all pieces that are read; of more of them the next time."""
        began = time.perf_counter()
        spoken = [piece for piece in self.read if piece.spoken]
        self.decoders = {
            number + n: self._token_decoders(piece, number + n, range(1))
            for n, piece in enumerate(spoken)
        }
        tries = [one for own in self.decoders.values() for one in own]
        if len(tries) > 1 or self.models.gpt.config.guided_heads:
            with self.lock:
                advance_together(tries, SIDE_BY_SIDE)
        self.made.spend("tokens", began)
        self.group = min(2 * self.group, SIDE_BY_SIDE)

    def prepare(self, takes: int = 1) -> None:
        """Read the text ahead, so that others can make the tokens of its `decoders`: of so many takes."""
        began = time.perf_counter()
        self.pieces = list(self.script)
        self.made.spend("text", began)
        if self.options.edits is None:
            spoken = (piece for piece in self.pieces if piece.spoken)
            for number, piece in enumerate(spoken):
                self.decoders[number] = self._token_decoders(piece, number, range(takes))

    def _pause(self, milliseconds: int) -> Iterator[Wave]:
        samples = milliseconds * self.made.rate // 1000
        if samples:
            yield self.made.add(np.zeros(samples, np.float32))

    def _speak(self, piece: Piece, number: int) -> Iterator[Wave]:
        edits, chosen = self._edits(piece), 0
        if self.takes > 1:
            best = yield from self._best_take(piece, number)
            if not self.edited:
                yield from self._said(piece, best)
                return
            chosen = best.number  # what is edited is what would have been said
        ready = self.decoders.get(number)
        decoder = ready[0] if ready else self._token_decoder(piece, number, edits, chosen)
        sound = self._piece_decoder(piece, number, edits, aligned=decoder.watch is None)
        trimmer = EdgeTrimmer(self.made.rate, round(FIRST_CHUNK * sound.token_samples))
        begun_at = self.made.samples / self.made.rate
        once = self.whole or edits.needs_path
        spans = Spans(self.lock, decoder, self.pool, whole=once, ahead=self.ahead)
        try:
            for begin, end in spans:
                if begin == end:
                    yield NOTHING_YET
                    continue
                path = self._known_path(decoder, sound, edits)
                for part in edits.parts(begin, end, path):
                    last = decoder.done and part.end == len(decoder.tokens)
                    began = time.perf_counter()
                    chunk = self._sounded(decoder, sound, part, path, last=last)
                    self.made.spend("audio", began)
                    chunk = trimmer.feed(chunk, last=last)
                    spans.go_on()
                    if len(chunk):
                        yield self.made.add(chunk)
        finally:
            spans.close()
        self.made.timings["tokens"] += spans.seconds
        self.made.takes.append(chosen)
        self._book(piece, decoder, sound, begun_at - trimmer.lead / self.made.rate)
        yield from self._pause(edits.closing_ms)

    def _best_take(self, piece: Piece, number: int) -> Generator[Wave, None, Take]:
        """The take that is heard to say its text. The others' tokens are made, side by side, where the first is not clear;
        nothing comes out between the passes of those with whom tokens are made.
        """
        decoders = self.decoders.get(number) or self._token_decoders(piece, number, range(1))
        made: list[Take] = []
        while len(made) < self.takes and not (made and made[-1].clear):
            if len(made) == len(decoders):
                rest = range(len(decoders), self.takes)
                decoders = [*decoders, *self._token_decoders(piece, number, rest)]
            yield from self._finished(decoders[len(made) :])
            began = time.perf_counter()
            made.append(self.take(piece, number, len(made), decoders[len(made)]))
            self.made.spend("audio", began)
        return max(made, key=lambda take: take.rank)

    def _finished(self, decoders: list[TokenDecoder]) -> Iterator[Wave]:
        """Make all of their tokens; beside those of other requests where there is a pool."""
        if self.pool is None:
            began = time.perf_counter()
            with self.lock:
                advance_together(decoders, len(decoders))
            self.made.spend("tokens", began)
            return
        waiting = [Spans(self.lock, one, self.pool, whole=True) for one in decoders]
        try:
            for spans in waiting:
                spans.go_on()
            for spans in waiting:
                for begin, end in spans:
                    if begin == end:
                        yield NOTHING_YET
                self.made.timings["tokens"] += spans.seconds
        finally:
            for spans in waiting:
                spans.close()

    def _said(self, piece: Piece, take: Take) -> Iterator[Wave]:
        """The sound of a take, into the whole."""
        trimmer = EdgeTrimmer(self.made.rate, round(FIRST_CHUNK * take.sound.token_samples))
        begun_at = self.made.samples / self.made.rate
        chunk = trimmer.feed(take.wave, last=True)
        if len(chunk):
            yield self.made.add(chunk)
        self.made.takes.append(take.number)
        self._book(piece, take.decoder, take.sound, begun_at - trimmer.lead / self.made.rate)

    def take(self, piece: Piece, number: int, take: int, decoder: TokenDecoder) -> Take:
        """Sound a try at a piece, the `number`th that is spoken, and listen to it."""
        with self.lock:
            decoder.advance()  # of those whose tokens are not made beside others'
        sound = self._piece_decoder(piece, number, NO_EDITS, aligned=decoder.watch is None)
        if not decoder.tokens:
            return Take(take, decoder, sound, NOTHING_YET, -math.inf)
        part = Part(0, len(decoder.tokens))
        wave = self._sounded(decoder, sound, part, decoder.path, last=True)
        spoken = [place for place, word in enumerate(piece.words) if word >= 0]
        odds = odds_said(self.models, wave, self.made.rate, piece.ids, spoken, decoder.path)
        return Take(take, decoder, sound, wave, clarity(odds), odds)

    def _piece_decoder(
        self, piece: Piece, number: int, edits: PieceIntervention, *, aligned: bool
    ) -> PieceDecoder:
        return PieceDecoder(
            self.models,
            piece.ids,
            edits.speaker(self.voice.speaker),
            derive(self.seed, number, "sound"),
            self.options.speed,
            aligned=aligned,
            prompt=mel_prompt(self.voice),
            memory=self.voice.memory,
            edits=edits,
            windowed=self.windowed and not self.whole,
        )

    def _sounded(
        self,
        decoder: TokenDecoder,
        sound: PieceDecoder,
        part: Part,
        path: Sequence[int],
        *,
        last: bool,
    ) -> Wave:
        plain = not (sound.aligned or self.edited)
        with self.sounding.together() if plain else self.sounding.alone():
            return sound.decode(
                decoder.tokens, part.begin, part.end, last=last, path=path, rate=part.rate,
                pause_ms=part.pause_ms, whole=self.ahead or (self.whole and self.edited),
            )  # fmt: skip

    @property
    def edited(self) -> bool:
        """Whether anything is done to this request."""
        return self.options.edits is not None

    def _edits(self, piece: Piece) -> PieceIntervention:
        if self.options.edits is None:
            return PieceIntervention()
        styled = self.options.style and bool(len(self.voice.prompt_tokens))
        first = len(self.voice.prompt_phonemes) if styled else 0
        return self.options.edits.on(self.models, self.phonemes, piece, first)

    def _known_path(
        self, decoder: TokenDecoder, sound: PieceDecoder, edits: PieceIntervention
    ) -> Sequence[int]:
        """The phoneme of each token; without a watch found by a run of its own, if edits want it."""
        if decoder.watch is not None or not edits.needs_path:
            return decoder.path
        with self.sounding.alone():
            return sound.scout(decoder.tokens)

    def _token_decoders(self, piece: Piece, number: int, takes: range) -> list[TokenDecoder]:
        return [self._token_decoder(piece, number, NO_EDITS, take) for take in takes]

    def _token_decoder(
        self, piece: Piece, number: int, edits: PieceIntervention, take: int = 0
    ) -> TokenDecoder:
        gpt, voice = self.models.gpt, self.voice
        styled = self.options.style and bool(len(voice.prompt_tokens))
        before = voice.prompt_phonemes if styled else ()
        heads = gpt.config.guided_heads
        watch = None
        if heads and self.options.watch is not None:
            words = (*[-1] * len(before), *piece.words)
            watch = Watch(words, heads, self.options.watch, first=len(before))
        return TokenDecoder(
            gpt,
            (*before, *piece.ids),
            self.options,
            seed_of_take(self.seed, number, take),
            watch=watch,
            prompt_tokens=voice.prompt_tokens if styled else (),
            limit=self.options.floor + 25 + TOKENS_PER_PHONEME * len(piece.ids),
            context=self._context(piece, styled=styled),
            edits=edits,
        )

    def _context(self, piece: Piece, *, styled: bool) -> Tensor | None:
        """Context features [1, P, E] of a piece, those of the style reference in front."""
        if piece.context is None:
            return None
        before = self.voice.prompt_context if styled else None
        parts = [piece.context] if before is None else [before, piece.context]
        return torch.cat(parts)[None]

    def _book(self, piece: Piece, decoder: TokenDecoder, sound: PieceDecoder, zero: float) -> None:
        made = self.made
        made.latents.extend(sound.latents)
        made.tokens.extend(decoder.tokens)
        path = self._path(piece, decoder, sound)
        made.alignment.extend(piece.items[phoneme] for phoneme in path)
        floor = max(0.0, zero)
        made.place([max(floor, zero + start / made.rate) for start in sound.starts])
        made.warnings.extend(self._faults(decoder))

    def _path(self, piece: Piece, decoder: TokenDecoder, sound: PieceDecoder) -> list[int]:
        if decoder.watch is not None:
            first = decoder.watch.first
            return [phoneme - first for phoneme in decoder.watch.path]
        if sound.attention:
            return monotone_path(np.concatenate(sound.attention)).tolist()
        count, total = len(piece.ids), len(decoder.tokens)
        return [token * count // total for token in range(total)]

    def _faults(self, decoder: TokenDecoder) -> Iterator[str]:
        names = {"stall": "held", "skip": "skipped"}
        for fault in decoder.redraws:
            yield Note.of(f"{names[fault.kind]}-redrawn", words=self._quoted(fault.words))
        for fault in decoder.unmended:
            yield Note.of(names[fault.kind], words=self._quoted(fault.words))
        if decoder.cut_off:
            yield Note.of("cut-off")

    def _quoted(self, words: tuple[int, ...]) -> str:
        said = [self.script.words[word] for word in words if word >= 0]
        if not said:
            return PAUSE
        return repr(self.script.text[said[0].start : said[-1].end])

    def _last_words(self) -> None:
        self.progress = 1.0
        self.made.timings["total"] = time.perf_counter() - self.made.started
        self.made.warnings.extend(map(of_text, self.script.phonemes().warnings))

    def synthesis(self) -> Synthesis:
        """The record of what has been made."""
        made, phonemes = self.made, self.script.phonemes()
        latents = np.concatenate(made.latents, axis=1) if made.latents else np.zeros((0, 0))
        audio = np.concatenate(made.audio) if made.audio else np.zeros(0)
        return Synthesis(
            audio=audio.astype(np.float32, copy=False),
            sample_rate=made.rate,
            text=self.script.text,
            phonemes=phonemes,
            tokens=np.array(made.tokens, np.int64),
            alignment=np.array(made.alignment, np.int64),
            token_times=np.array(made.times, np.float64),
            latents=latents.astype(np.float32, copy=False),
            seed=self.seed,
            takes=list(made.takes),
            words=made.word_times(phonemes),
            warnings=list(made.warnings),
            timings=dict(made.timings),
            fingerprint=self.fingerprint,
            model=self.models.name,
            model_hash=self.models.weights_hash,
            voice=self.voice.name,
            options=self.options.model_dump(mode="json", exclude={"seed"}, exclude_defaults=True),
            edits=[] if self.options.edits is None else self.options.edits.record(),
        )
