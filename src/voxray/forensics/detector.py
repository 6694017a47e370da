"""Is this speech synthetic? A wave -> score, spans in time, and the bands that speak for it.

The score is the log odds of the clip, set so that 0 is crossed by about one person in twenty of
those who were kept apart in training. Spans are where the likeliest course of the 40 ms steps is
synthetic (Viterbi: changing sides has a price). Bands: by how much the score falls when a band's
deviations from its mean are taken away (occlusion), so the figure is causal for this detector. It
says little of generators that the detector never met: see `benchmarks/results/forensics.md`.
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
from .network import BINS, CRESTS, FIRST, HERTZ, STEP_SECONDS, Detector, features

Wave = NDArray[np.float32]
WEIGHTS = "detector.safetensors"
PRICE = 2.0  # log odds that a change of sides costs
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
    spectrum = torch.from_numpy(features(wave, rate))[None]  # [1, T, 248]
    with torch.inference_mode():
        steps = net(spectrum)
        score = float(net.score(steps))
        bands = _bands(net, spectrum, score)
    course = steps[0].numpy()
    return Judgement(score, course, spans(course, words), bands)


def spans(steps: NDArray[np.float32], words: Sequence[WordTime] = ()) -> tuple[Span, ...]:
    """Where the likeliest course is synthetic."""
    inside = _course(steps)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    found = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        start, stop = begin * STEP_SECONDS, end * STEP_SECONDS
        if stop - start >= SHORTEST_SPAN:
            said = tuple(w.text for w in words if w.start_s < stop and w.end_s > start)
            found.append(Span(start, stop, float(steps[begin:end].mean()), said))
    return tuple(found)


def _course(steps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The likeliest course [T] of two states, a change of which costs `PRICE`."""
    best, came = np.zeros(2), np.zeros((len(steps), 2), np.int64)
    for number, odds in enumerate(steps):
        for state in (0, 1):
            changed = best[1 - state] - PRICE > best[state]
            came[number, state] = 1 - state if changed else state
        best = np.array([max(best[0], best[1] - PRICE), max(best[1], best[0] - PRICE)])
        best += np.array([-odds / 2, odds / 2])
    state, course = int(best[1] > best[0]), np.zeros(len(steps), bool)
    for number in range(len(steps) - 1, -1, -1):
        course[number] = bool(state)
        state = int(came[number, state])
    return course


def _bands(
    net: Detector, spectrum: torch.Tensor, score: float
) -> tuple[tuple[float, float, float], ...]:
    """By how much the score falls without each band and the crests that lie there, nearly."""
    width, peaks = BINS // BANDS, CRESTS // BANDS
    without = spectrum.repeat(BANDS, 1, 1)
    for band in range(BANDS):
        without[band, :, band * width : (band + 1) * width] = 0.0
        without[band, :, BINS + band * peaks : BINS + (band + 1) * peaks] = 0.0
    falls = score - net.score(net(without)).detach().numpy()
    edges = (FIRST + width * np.arange(BANDS + 1)) * HERTZ
    return tuple(
        (float(edges[band]), float(edges[band + 1]), float(falls[band])) for band in range(BANDS)
    )
