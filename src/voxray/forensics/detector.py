"""Is this speech synthetic? A wave -> score, spans in time, and the bands that speak for it.

The score is the mean log odds of the 40 ms steps: above 0 synthetic is likelier. Spans are where
the smoothed log odds stay above 0. Bands: by how much the score falls when a band's deviations from
its mean are taken away (occlusion), so the figure is causal for this detector. It says nothing of
generators that the detector never met: see `benchmarks/results/forensics.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from ..synthesis import WordTime
from .matching import RATE
from .network import FFT, MELS, STEP_SECONDS, TOP, Detector, features, mel_bank

Wave = NDArray[np.float32]
WEIGHTS = "detector.safetensors"
SMOOTH = 11  # steps: 0.44 s
SHORTEST_SPAN = 0.3  # seconds
LEAST_SECONDS = 0.3
BANDS = 8


@dataclass(frozen=True)
class Span:
    """From when to when, and how strong (mean log odds)."""

    start_s: float
    end_s: float
    odds: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """`score` in log odds; `steps` [T] its course in time, one value every 40 ms."""

    score: float
    steps: NDArray[np.float32]
    spans: tuple[Span, ...]
    bands: tuple[tuple[float, float, float], ...]  # from Hz, to Hz, share of the score

    @property
    def synthetic(self) -> bool:
        """Whether synthetic is likelier."""
        return self.score > 0


@lru_cache(1)
def detector() -> Detector:
    """The network that comes with voxray."""
    made = Detector().eval()
    data = (resources.files(__package__) / WEIGHTS).read_bytes()
    made.load_state_dict(safetensors.torch.load(data))
    return made


def judge(
    wave: Wave, rate: int, words: Sequence[WordTime] = (), *, network: Detector | None = None
) -> Judgement:
    """A wave [N] of any rate -> judgement; with `words`, spans name what is said in them."""
    if len(wave) < LEAST_SECONDS * rate:
        raise ValueError(f"{len(wave) / rate:.2f} s is too short; {LEAST_SECONDS} s is least")
    net = network or detector()
    mel = torch.from_numpy(features(wave, rate))[None]  # [1, T, 64]
    with torch.inference_mode():
        steps = net(mel)[0].numpy()
        bands = _bands(net, mel, float(steps.mean()))
    return Judgement(float(steps.mean()), steps, spans(steps, words), bands)


def spans(steps: NDArray[np.float32], words: Sequence[WordTime] = ()) -> tuple[Span, ...]:
    """Where the smoothed log odds stay above 0."""
    window = np.ones(min(SMOOTH, len(steps)), np.float32)
    smooth = np.convolve(steps, window, "same") / np.convolve(np.ones(len(steps)), window, "same")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], smooth > 0, [False]]).astype(int)))
    found = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        start, stop = begin * STEP_SECONDS, end * STEP_SECONDS
        if stop - start >= SHORTEST_SPAN:
            said = tuple(w.text for w in words if w.start_s < stop and w.end_s > start)
            found.append(Span(start, stop, float(smooth[begin:end].mean()), said))
    return tuple(found)


def _bands(
    net: Detector, mel: torch.Tensor, score: float
) -> tuple[tuple[float, float, float], ...]:
    """By how much the score falls without each band."""
    width = MELS // BANDS
    without = mel.repeat(BANDS, 1, 1)
    for band in range(BANDS):
        without[band, :, band * width : (band + 1) * width] = 0.0
    falls = score - net(without).mean(1).detach().numpy()
    edges = _mel_edges()
    return tuple(
        (float(edges[band]), float(edges[band + 1]), float(falls[band])) for band in range(BANDS)
    )


def _mel_edges() -> NDArray[np.float64]:
    """Hz at the borders of the bands: the peaks of the mel filters there."""
    peaks = mel_bank().argmax(0) * RATE / FFT
    return np.append(peaks[:: MELS // BANDS], TOP)
