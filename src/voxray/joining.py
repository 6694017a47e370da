"""Tokens -> audio of one piece, whole or chunk by chunk with cross-fades; silence at the edges.

`PieceDecoder.decode` makes the samples of tokens [begin, end) from a run that also sees some tokens
before and after, and fades from one run into the next. The prior's noise is drawn by absolute
frame, so a chunk rolls the same dice as the whole. A `windowed` one has the prior read every token that
is there: once all are, a chunk is what the whole has there. `EdgeTrimmer` takes the silence off both
ends of a piece while it streams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bundle import Bundle
from .interventions import Part, PieceIntervention, SoundSpan
from .models.generator_matching import MelPrompt
from .models.memory import Memory
from .sampling import normal_noise
from .sites import attach, record

Wave = NDArray[np.float32]

CONTEXT = 16  # tokens that a chunk's run sees before it
LOOK_AHEAD = 4  # and after it
FADE_SECONDS = 0.010
FRAMES_PER_TOKEN = 2
ATTENTION = "prior.attn.pattern"


class PieceDecoder:
    """Turns the tokens of one piece into sound; remembers what has been made."""

    def __init__(
        self,
        models: Bundle,
        text_ids: Sequence[int],
        speaker: Tensor,  # [G]
        seed: int,
        speed: float = 1.0,
        *,
        aligned: bool = False,  # keep the prior's attention, to align by
        prompt: MelPrompt | None = None,  # of models that go on from a mel
        memory: Memory | None = None,  # of models that look up the reference's frames
        edits: PieceIntervention | None = None,
        windowed: bool = False,
    ) -> None:
        self.models = models
        self.seed = seed
        self.speed = speed
        self.aligned = aligned
        self.windowed = windowed
        self.rate = models.generator.config.sample_rate
        self.token_samples = FRAMES_PER_TOKEN * models.generator.config.hop / speed
        self.latents: list[Wave] = []
        self.attention: list[Wave] = []  # [tokens, P] of each chunk
        self._text = torch.tensor([list(text_ids)])  # [1, P]
        self._speaker = speaker[None]  # [1, G]
        given = {"prompt": prompt, "memory": memory}
        self._more: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        self._pulled = bool(models.generator.config.prior.pull) and prompt is None
        self._tail = np.zeros(0, np.float32)
        self._edits = edits or PieceIntervention()
        self.starts: list[float] = []  # samples before each token
        self._made = 0.0  # samples so far

    @torch.inference_mode()
    def decode(
        self,
        tokens: Sequence[int],
        begin: int,
        end: int,
        *,
        last: bool,
        path: Sequence[int] = (),
        rate: float = 1.0,
        pause_ms: int = 0,
        whole: bool = False,
    ) -> Wave:
        """Samples of tokens [begin, end); unless `last`, tokens beyond `end` must be there.

        `path` names the phoneme that each token says, where it is known. `rate` speeds this span up, a
        pause follows it; `whole`: the run sees all tokens, however few are wanted.
        """
        start = 0 if whole or self.windowed else max(0, begin - CONTEXT)
        stop = len(tokens) if whole else end if last else min(len(tokens), end + LOOK_AHEAD)
        speed = self.speed * rate
        window = self._window(begin, None if last and stop == end else end, stop, speed)
        output, seen = self._run(tokens, start, stop, path, speed, window=window)
        audio = output.audio[0].float().numpy()
        if not np.isfinite(audio).all():
            raise ValueError("the generator returned NaN: the model's weights are damaged")
        away = 0 if window is None else window[0]  # frames between the run's start and its first
        self._keep(output.latents[0], seen.get(ATTENTION), start, begin, end, stop, away)
        token_samples = self.token_samples / rate
        before = away * self.models.generator.config.hop
        first = round((begin - start) * token_samples) - before
        final = (
            len(audio) if last and stop == end else round((end - start) * token_samples) - before
        )
        made = self._joined(audio, first, final)
        self.starts.extend(self._made + i * token_samples for i in range(end - begin))
        made = self._edits.wave(made, Part(begin, end, rate, pause_ms), path)
        if pause_ms:
            made = self._silence_after(made, pause_ms)
        self._made += len(made)
        return made

    @torch.inference_mode()
    def scout(self, tokens: Sequence[int]) -> list[int]:
        """The phoneme of each token by the prior's attention, without keeping any sound."""
        with record(self.models.generator, ATTENTION) as seen:
            self._run(tokens, 0, len(tokens), (), self.speed, edited=False)
        per_token = seen[ATTENTION][0][0].mean(0).unflatten(0, (-1, FRAMES_PER_TOKEN)).mean(1)
        return monotone_path(per_token.float().numpy()).tolist()

    def _run(
        self,
        tokens: Sequence[int],
        start: int,
        stop: int,
        path: Sequence[int],
        speed: float,
        *,
        edited: bool = True,
        window: tuple[int, int] | None = None,
    ) -> tuple[Any, dict[str, list[Tensor]]]:
        """The generator over tokens [start, stop), watched and edited."""
        part = torch.tensor([list(tokens[start:stop])])  # [1, S]
        noise = self._noise(start, stop, speed)
        more = dict(self._more)
        if self._pulled and len(path) >= stop:
            more["pointer"] = torch.tensor([list(path[start:stop])])  # [1, S]
        if window is not None:
            more["window"] = window
        with ExitStack() as stack:
            edits = self._edits.generator(SoundSpan(start, stop, path, speed)) if edited else {}
            if edits:
                stack.enter_context(attach(self.models.generator, edits))
            watched = self.aligned and edited
            seen = stack.enter_context(record(self.models.generator, ATTENTION)) if watched else {}
            output = self.models.generator.decode(
                part, self._text, self._speaker, noise, speed, **more
            )
        return output, seen

    def _window(
        self, begin: int, end: int | None, stop: int, speed: float
    ) -> tuple[int, int] | None:
        """The frames of tokens [begin, end) and of the fade behind them; `end` None: up to the last."""
        if not self.windowed:
            return None
        span = FRAMES_PER_TOKEN / speed
        first, frames = int(begin * span), int(FRAMES_PER_TOKEN * stop / speed) + 1
        if end is None:
            return first, frames
        fade = FADE_SECONDS * self.rate / self.models.generator.config.hop
        return first, min(frames, math.ceil(end * span + fade))

    def _silence_after(self, made: Wave, pause_ms: int) -> Wave:
        """Fade out, be silent, and let the next span fade in."""
        fade = min(len(made), round(FADE_SECONDS * self.rate))
        if fade:
            made[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
        self._tail = np.zeros(fade, np.float32)
        return np.concatenate([made, np.zeros(pause_ms * self.rate // 1000, np.float32)])

    def _noise(self, start: int, stop: int, speed: float) -> Tensor:
        """The dice [1, C, T] of tokens [start, stop), by absolute frame."""
        first = round(FRAMES_PER_TOKEN * start / speed)
        frames = first + int(FRAMES_PER_TOKEN * (stop - start) / speed) + 1
        channels = self.models.generator.config.noise_channels
        return normal_noise(self.seed, channels, frames)[:, :, first:]

    def _joined(self, audio: Wave, first: int, final: int) -> Wave:
        made = audio[first:final].copy()
        fade = min(len(self._tail), len(made))
        if fade:
            rise = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
            made[:fade] = made[:fade] * rise + self._tail[:fade] * (1.0 - rise)
        self._tail = audio[final : final + round(FADE_SECONDS * self.rate)].copy()
        return np.clip(made, -1.0, 1.0)

    def _keep(
        self,
        latents: Tensor,
        attention: list[Tensor] | None,
        start: int,
        begin: int,
        end: int,
        stop: int,
        away: int,
    ) -> None:
        if self.windowed:
            span = self.token_samples / self.models.generator.config.hop
        else:
            span = latents.shape[-1] / (stop - start)  # frames a token, speed included
        final = None if stop == end else round((end - start) * span) - away
        cut = slice(round((begin - start) * span) - away, final)
        self.latents.append(latents[:, cut].float().numpy())
        if attention:  # [1, H, 2 * tokens, P]
            per_token = attention[0][0].mean(0).unflatten(0, (-1, FRAMES_PER_TOKEN)).mean(1)
            self.attention.append(per_token[begin - start : end - start].float().numpy())


class EdgeTrimmer:
    """Takes silence off both ends of a wave that arrives in chunks; keeps a short margin.

    What is loud at the front is told by its first `opening` samples (0: by the first chunk), so that the
    cut is the same whole and in chunks.
    """

    def __init__(
        self, rate: int, opening: int = 0, head_seconds: float = 0.03, tail_seconds: float = 0.06
    ) -> None:
        self.opening = opening
        self.head = round(head_seconds * rate)
        self.tail = round(tail_seconds * rate)
        self.lead = 0  # samples taken off the front
        self._peak = 0.0
        self._started = False
        self._held = np.zeros(0, np.float32)

    def feed(self, chunk: Wave, *, last: bool) -> Wave:
        """The samples that are certain now; at `last`, all that remain but the silence."""
        wave = np.concatenate([self._held, chunk])
        if len(wave) == 0:
            return wave
        level = np.abs(wave)
        self._peak = max(self._peak, float(level.max()))
        loud = np.flatnonzero(level > _threshold(self._peak))
        if len(loud) == 0:
            self._held = wave
            if not last:
                return wave[:0]
            return wave[: self.tail] if self._started else wave
        begin = 0
        if not self._started:
            front = _threshold(float(level[: self.opening or None].max()))
            begin = max(0, int((level > front).argmax()) - self.head)
            self.lead = begin
            self._started = True
        sure = min(len(wave), int(loud[-1]) + 1 + (self.tail if last else 0))
        self._held = wave[sure:]
        return wave[begin:sure]


def _threshold(peak: float) -> float:
    """What is louder is no silence: 48 dB below the peak."""
    return max(1e-4, 0.004 * peak)


def monotone_path(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The best never-returning path through scores [S, P]: which phoneme each token says."""
    tokens, phonemes = scores.shape
    if tokens == 0:
        return np.zeros(0, np.int64)
    gain = np.log(np.asarray(scores, np.float64) + 1e-6)
    origin = np.zeros((tokens, phonemes), np.int64)
    best = gain[0] - 1e3 * (np.arange(phonemes) > 0)  # begins at the first phoneme
    for token in range(1, tokens):
        running = np.maximum.accumulate(best)
        fresh = np.where(best >= running, np.arange(phonemes), 0)
        origin[token] = np.maximum.accumulate(fresh)
        best = running + gain[token]
    path = np.empty(tokens, np.int64)
    path[-1] = int(best.argmax())
    for token in range(tokens - 1, 0, -1):
        path[token - 1] = origin[token, path[token]]
    return path
