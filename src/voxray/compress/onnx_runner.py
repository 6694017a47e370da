"""The reference that runs an exported chain: numpy and onnxruntime, no torch. A browser can follow it.

In: phoneme ids [P], a speaker vector [G], a seed, and what is remembered of the reference (tokens [R], latents
[Z, 2R]; only models that look it up ask for it). Out: tokens [S], the phoneme each says, the wave [480 x 2S].
The pointer moves to the middle of what the text head looks at, within a window that never goes back; the end
is allowed on the last phonemes. It speaks one sentence; the package's own watch mends more than this.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
# Tokens [R] of a reference, its latents [Z, 2R] and, if known, its correction [Z, F + 2].
Frames = tuple[NDArray[np.integer], Array] | tuple[NDArray[np.integer], Array, Array]
LEAST_FRAMES = 2  # tokens that the network wants, be they padding
BACK, AHEAD, SHUT = 1, 3, np.float32(-1e4)
TOP_K, END_ZONE, FLOOR, PER_PHONEME = 15, 2, 5, 14


@dataclass(frozen=True)
class Spoken:
    """What a chain made."""

    tokens: list[int]
    path: list[int]
    audio: Array


class Chain:
    """An exported folder, opened."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        path = folder / "chain.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is no exported chain: it has no chain.json")
        self.facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        self._nets = {
            name: runtime.InferenceSession(
                str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            for name in ("text", "step", "speech")
        }

    def run(self, net: str, **given: NDArray[Any]) -> list[Array]:
        """One network on named arrays; what a model was built not to need is left out."""
        known = {wanted.name for wanted in self._nets[net].get_inputs()}
        return self._nets[net].run(None, {k: v for k, v in given.items() if k in known})

    def say(
        self, ids: list[int], speaker: Array, seed: int, temperature: float | None = None,
        memory: Frames | None = None,
    ) -> Spoken:  # fmt: skip
        """Speak one sentence's phonemes."""
        dice = np.random.default_rng(seed)
        warmth = self.facts["temperature"] if temperature is None else temperature
        tokens, path = self.tokens(ids, dice, warmth)
        noise = np.zeros((1, self.facts["latents"], 2 * len(tokens)), np.float32)
        white = dice.standard_normal(4 * len(tokens) * self.facts["hop"]).astype(np.float32)
        return Spoken(tokens, path, self.speech(tokens, path, ids, speaker, noise, white, memory))

    def tokens(
        self, ids: list[int], dice: np.random.Generator, temperature: float
    ) -> tuple[list[int], list[int]]:
        """Sample token after token behind the moving window."""
        keys, values = self.run("text", ids=np.array([ids], np.int64))
        state = [np.zeros((1, 1, self.facts["width"]), np.float32)] * 4
        token, pointer = self.facts["end"], 0
        made: list[int] = []
        path: list[int] = []
        while len(made) < 25 + PER_PHONEME * len(ids):
            bias = np.full((1, 1, 1, len(ids)), SHUT, np.float32)
            bias[..., max(0, pointer - BACK) : pointer + AHEAD + 1] = 0.0
            logits, pattern, *state = self.run(
                "step", token=np.array([token], np.int64), keys=keys, values=values, bias=bias,
                **dict(zip(("h1", "c1", "h2", "c2"), state, strict=True)),
            )  # fmt: skip
            middle = int(np.searchsorted(np.cumsum(pattern[0]), 0.5))
            pointer = max(pointer, min(middle, len(ids) - 1))
            may_end = len(made) >= FLOOR and pointer >= len(ids) - END_ZONE
            token = sample(logits[0], dice, temperature, self.facts["end"], may_end=may_end)
            if token == self.facts["end"]:
                break
            made.append(token)
            path.append(pointer)
        return made, path

    def speech(
        self, tokens: list[int], path: list[int], ids: list[int], speaker: Array, noise: Array,
        white: Array, memory: Frames | None = None,
    ) -> Array:  # fmt: skip
        """Tokens, and the phoneme of each -> wave."""
        f0, envelope, filters = self.run(
            "speech", tokens=np.array([tokens], np.int64), ids=np.array([ids], np.int64),
            speaker=speaker[None], pointer=np.array([path], np.int64), noise=noise,
            **self._remembered(memory),
        )  # fmt: skip
        n_fft, hop, rate = (self.facts[name] for name in ("n_fft", "hop", "rate"))
        pulses = pulse_train(f0[0], hop, rate)
        return source_filter(envelope[0], filters[0], pulses, white, n_fft, hop)

    def _remembered(self, memory: Frames | None) -> dict[str, NDArray[Any]]:
        """The reference's frames as the network wants them; without any, padding that does not count."""
        tokens, latents, *more = memory or (np.zeros(0), np.zeros((self.facts["latents"], 0)))
        if latents.shape != (self.facts["latents"], 2 * len(tokens)):
            raise ValueError(
                f"{len(tokens)} tokens of a reference have latents of "
                f"{self.facts['latents']} x {2 * len(tokens)}, not {' x '.join(map(str, latents.shape))}"
            )
        missing = max(0, LEAST_FRAMES - len(tokens))
        correction = more[0] if more else self._neutral()
        return {
            "correction": correction.astype(np.float32)[None],
            "reference": np.pad(tokens, (0, missing)).astype(np.int64)[None],
            "frames": np.pad(latents, ((0, 0), (0, 2 * missing))).astype(np.float32)[None],
            "known": np.array([len(tokens)], np.int64),
        }

    def _neutral(self) -> Array:
        """The correction [Z, F + 2] that changes nothing."""
        correction = np.zeros((self.facts["latents"], self.facts["correction"]), np.float32)
        correction[:, -2] = 1.0
        return correction


def sample(
    logits: Array, dice: np.random.Generator, temperature: float, end: int, *, may_end: bool
) -> int:
    """Among the best 15, by temperature; the end only where it is allowed."""
    scores = logits.astype(np.float64).copy()
    if not may_end:
        scores[end] = -np.inf
    if temperature < 1e-3:
        return int(scores.argmax())
    limit = np.partition(scores, -TOP_K)[-TOP_K]
    scores = np.where(scores >= limit, scores / temperature, -np.inf)
    odds = np.exp(scores - scores.max())
    return int(dice.choice(len(odds), p=odds / odds.sum()))


def pulse_train(f0: Array, hop: int, rate: int) -> Array:
    """Band-limited pulses of unit power: F0 [T] Hz (0: unvoiced) -> [T * hop]."""
    voiced = (f0 > 0).astype(np.float64)
    filled = np.where(f0 > 0, f0, 100.0).astype(np.float64)
    turns = np.cumsum(_between(filled, hop) / rate)
    x = 2 * np.pi * (turns - np.floor(turns))
    count = np.repeat(np.floor(0.45 * rate / filled), hop)
    half = np.sin(x / 2)
    small = np.abs(half) < 1e-4
    body = np.sin((count + 0.5) * x) / (2 * np.where(small, 1e-4, half)) - 0.5
    body = np.where(small, count, body)
    return (body * _between(voiced, hop) / np.sqrt(count / 2)).astype(np.float32)


def _between(values: NDArray[np.float64], hop: int) -> NDArray[np.float64]:
    """Straight lines between the middles of hops: [T] -> [T * hop]."""
    place = (np.arange(len(values) * hop) + 0.5) / hop - 0.5
    return np.interp(place, np.arange(len(values)), values)


def source_filter(
    envelope: Array, filters: Array, pulses: Array, white: Array, n_fft: int, hop: int
) -> Array:
    """Envelope [T, 2F] and filters [T, 4F] over two sources [T * hop] -> wave [T * hop]."""
    window = np.hanning(n_fft + 1)[:-1]
    loud_floor, hiss_floor = np.split(envelope, 2, axis=1)
    loud, real, turn, hiss = np.split(filters, 4, axis=1)
    gain = np.exp(np.clip(loud + loud_floor, -12, 6) - 2.0)
    veil = np.exp(np.clip(hiss + hiss_floor, -12, 6) - 4.0)
    spectrum = _stft(pulses, window, hop, len(loud)) * gain * (1.0 + real + 1j * turn)
    spectrum = spectrum + _stft(white, window, hop, len(loud)) * veil
    frames = np.fft.irfft(spectrum, n_fft, axis=1) * window
    size = len(frames) * hop + n_fft
    wave, weight = np.zeros(size), np.zeros(size)
    for number in range(len(frames) + 1):  # the last frame only weighs
        at = slice(number * hop, number * hop + n_fft)
        if number < len(frames):
            wave[at] += frames[number]
        weight[at] += np.square(window)
    middle = slice(n_fft // 2, n_fft // 2 + len(frames) * hop)
    return (wave[middle] / np.maximum(weight[middle], 1e-8)).astype(np.float32)


def _stft(
    wave: Array, window: NDArray[np.float64], hop: int, frames: int
) -> NDArray[np.complex128]:
    """Centred frames, zeros outside: [frames, F]."""
    padded = np.pad(wave.astype(np.float64), len(window) // 2)
    cut = np.lib.stride_tricks.sliding_window_view(padded, len(window))[::hop][:frames]
    return np.fft.rfft(cut * window, axis=1)
