"""An `article` model as the engine sees it: text + voice -> `Synthesis`.

Sentences are cut as always and read raw; every position of the text gets its frames, so a word's time is
where its bytes are. The dice of a sentence are drawn from the request's seed. What this form cannot do (a
style reference, conversion, streaming inside a sentence) is refused or comes out whole.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import numpy as np
import torch
from numpy.typing import NDArray

from ..joining import EdgeTrimmer
from ..pipeline import SynthesisOptions
from ..sampling import check_seed, derive, generator
from ..synthesis import Synthesis, WordTime
from ..text import Phonemes, TextPipeline, split_sentences
from ..voice import Voice
from .bundle import ArticleBundle
from .text import LONGEST, hidden_states

Wave = NDArray[np.float32]
FRAME_SECONDS = 0.02
PIECE_CHARACTERS = 160


class ArticlePipeline:
    """Models and their use; one request at a time."""

    def __init__(self, models: ArticleBundle, lexicon: Path | None = None) -> None:
        if lexicon is not None:
            raise ValueError("an article model reads raw text: it takes no lexicon")
        self.models = models
        self.text: TextPipeline = models.text_pipeline()
        self.lock = RLock()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else uses the models."""
        with self.lock:
            yield

    def synthesise(self, text: str, voice: Voice, options: SynthesisOptions) -> Synthesis:
        """Speech, sentence after sentence."""
        stream = self.stream(text, voice, options)
        for _ in stream:
            pass
        return stream.synthesis

    def stream(
        self, text: str, voice: Voice, options: SynthesisOptions, *, shared: bool = False
    ) -> ArticleStream:
        """Sentence by sentence; nothing is shared, there being no tokens."""
        return ArticleStream(self, text, voice, options)

    def convert(self, wave: Wave, rate: int, voice: Voice, options: SynthesisOptions) -> Synthesis:
        """Not with this form."""
        raise ValueError("an article model has no semantic tokens: it converts no recordings")


class ArticleStream:
    """Iterate to get audio; `synthesis` is what has been made so far."""

    def __init__(
        self, pipeline: ArticlePipeline, text: str, voice: Voice, options: SynthesisOptions
    ) -> None:
        models = pipeline.models
        wanted = models.config.speaker.speaker_width
        if len(voice.speaker) != wanted or (voice.model and voice.model != models.name):
            raise ValueError(
                f"the voice {voice.name!r} was made for the model {voice.model or 'mini'!r}, "
                f"not for {models.name!r}: give this model a recording instead"
            )
        seeded = options.seeded()
        self.seed = check_seed(seeded.seed)
        self.sample_rate = models.config.decoder.rate
        self.progress = 0.0
        self._pipeline, self._voice, self._options = pipeline, voice, seeded
        self._text = text
        self._audio: list[Wave] = []
        self._latents: list[Wave] = []
        self._words: list[WordTime] = []
        self._timings = {"text": 0.0, "tokens": 0.0, "audio": 0.0}
        self._began = time.perf_counter()
        self._chunks = self._run()

    def __iter__(self) -> Iterator[Wave]:
        return self

    def __next__(self) -> Wave:
        return next(self._chunks)

    def close(self) -> None:
        """End early."""
        self._chunks.close()

    def _run(self) -> Generator[Wave, None, None]:
        spans = split_sentences(self._text, PIECE_CHARACTERS)
        if not spans:
            raise ValueError("nothing to say: the text has no words")
        for number, (begin, end) in enumerate(spans):
            if number:
                pause = self._options.pause_ms * self.sample_rate // 1000
                yield self._add(np.zeros(pause, np.float32))
            yield self._add(self._sentence(begin, end, number))
            self.progress = end / len(self._text)
        self._timings["total"] = time.perf_counter() - self._began

    def _add(self, wave: Wave) -> Wave:
        self._timings.setdefault("first_audio", time.perf_counter() - self._began)
        self._audio.append(wave)
        return wave

    def _sentence(self, begin: int, end: int, number: int) -> Wave:
        models, now = self._pipeline.models, time.perf_counter()
        read = models.tokenizer(self._text[begin:end].strip())
        lead = begin + len(self._text[begin:end]) - len(self._text[begin:end].lstrip())
        if len(read.ids) > LONGEST:
            raise ValueError(
                f"a sentence of {len(read.ids)} symbols; {LONGEST} is the most: cut it"
            )
        with self._pipeline.lock, torch.inference_mode():
            hidden = hidden_states(models.encoder, torch.tensor([read.ids]))
            self._timings["text"] += time.perf_counter() - now
            dice = generator(derive(self.seed, number, "article"))
            audio, z, frames = models.article.decode(
                hidden, self._voice.speaker[None], dice, self._options.speed
            )
        self._timings["audio"] += time.perf_counter() - now
        self._latents.append(z[0].numpy())
        ends = np.cumsum(frames.numpy()) * FRAME_SECONDS
        trimmer = EdgeTrimmer(self.sample_rate)
        wave = trimmer.feed(np.clip(audio[0].float().numpy(), -1.0, 1.0), last=True)
        at = sum(len(a) for a in self._audio) / self.sample_rate - trimmer.lead / self.sample_rate
        self._book(read.spans, ends, at, lead)
        return wave

    def _book(
        self, spans: list[tuple[int, int]], ends: NDArray[np.float64], at: float, lead: int
    ) -> None:
        """Join symbols to words: a symbol that begins with a space begins a word."""
        for place, (begin, end) in enumerate(spans):
            if begin == end:
                continue
            start = at + (float(ends[place - 1]) if place else 0.0)
            piece = self._text[lead + begin : lead + end]
            fresh = not self._words or piece[:1].isspace() or self._words[-1].end < lead + begin
            if fresh:
                begin += len(piece) - len(piece.lstrip())
            first = self._words[-1] if self._words and not fresh else None
            self._words[-1 if first else len(self._words) :] = [
                WordTime(
                    self._text[(first.start if first else lead + begin) : lead + end],
                    first.start_s if first else max(0.0, start),
                    max(0.0, at + float(ends[place])),
                    first.start if first else lead + begin,
                    lead + end,
                )
            ]

    @property
    def synthesis(self) -> Synthesis:
        """The record so far."""
        audio = np.concatenate(self._audio or [np.zeros(0, np.float32)])
        latents = np.concatenate(self._latents, axis=1) if self._latents else np.zeros((0, 0))
        return Synthesis(
            audio=audio.astype(np.float32, copy=False),
            sample_rate=self.sample_rate,
            text=self._text,
            phonemes=Phonemes(self._text, self._text, (), ()),
            tokens=np.zeros(0, np.int64),
            alignment=np.zeros(0, np.int64),
            token_times=np.zeros(0, np.float64),
            latents=latents.astype(np.float32, copy=False),
            seed=self.seed,
            words=[word for word in self._words if word.text.strip()],
            timings=dict(self._timings),
            model=self._pipeline.models.name,
            model_hash=self._pipeline.models.weights_hash,
            voice=self._voice.name,
        )
