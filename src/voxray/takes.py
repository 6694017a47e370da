"""Several takes of a sentence, and the one that is heard to say it.

A generator does not say everything clearly, and how clearly it says a sentence depends on the dice. Who made a take
can also listen to it: the content encoder hears the sound as it hears any recording, and each phoneme of the text should
be among what is heard while it is said. `clarity` measures that. The first take is kept where it is clear; where it is not
the others are made and sounded one after another, until one is clear or none is left; the clearest is kept. (Samples ranked by a model of their own: Betker 2023, arXiv 2305.07243, there with a
contrastive model of text and speech.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from . import audio
from .bundle import RATE, Bundle
from .decoding import TokenDecoder
from .joining import PieceDecoder, Wave
from .sampling import derive
from .tokens.content import ContentEncoder

CLEAR = -1.0  # a take that is so clear is kept as it is
LEAST = 0.02  # odds of a phoneme that is not heard at all
SLACK = 1  # tokens that a phoneme may be early or late
SHORTEST = 640  # samples at 16 kHz: one token


@dataclass(frozen=True)
class Take:
    """One try at a sentence: its tokens, its sound before the edges are cut, and how clear it is."""

    number: int  # from 0
    decoder: TokenDecoder
    sound: PieceDecoder
    wave: Wave  # [N]
    clarity: float
    odds: Wave = field(default_factory=lambda: np.zeros(0, np.float32))  # of each phoneme [Q], log

    @property
    def whole(self) -> bool:
        """Whether the watch has nothing to say against it."""
        return not (self.decoder.unmended or self.decoder.cut_off)

    @property
    def clear(self) -> bool:
        """Whether no other is needed."""
        return self.whole and self.clarity >= CLEAR

    @property
    def rank(self) -> tuple[bool, float]:
        """Higher is better."""
        return self.whole, self.clarity


def seed_of_take(seed: int, number: int, take: int) -> int:
    """The dice of a try at a request's sentence; the first one's are those of a sentence that is said once."""
    return derive(seed, number, "tokens", *([take] if take else []))


def can_listen(models: Bundle) -> bool:
    """Whether a model hears with an encoder of its own, knows what its codes sound like, and watches its text."""
    hears = isinstance(models.content, ContentEncoder) and models.phones is not None
    return hears and bool(models.gpt.config.guided_heads)


def check_takes(models: Bundle, takes: int) -> None:
    """ValueError where several takes are asked for of a model that cannot tell which is clearest."""
    if takes > 1 and not can_listen(models):
        raise ValueError(
            f"the model {models.name!r} cannot listen to what it says, so takes must be 1, not {takes}"
        )


@torch.inference_mode()
def odds_said(
    models: Bundle,
    wave: NDArray[np.float32],
    rate: int,
    ids: Sequence[int],
    spoken: Sequence[int],
    path: Sequence[int],
) -> Wave:
    """How clearly a sound [N] says phonemes: the log of the odds that each of those `spoken` (places in `ids` [P])
    is heard while it is said, [len(spoken)], 0 at best. `path` [S] is the place that each token says. Sound may be
    faster or slower.
    """
    long = len(wave) * RATE >= SHORTEST * rate
    if models.phones is None or not long or not len(path):
        return np.full(len(spoken), np.log(LEAST), np.float32)
    heard = audio.resample(wave * np.float32(audio.speech_gain(wave)), rate, RATE)
    codes = models.encode(torch.from_numpy(heard))  # [T]
    odds = models.phones.heard(codes, torch.as_tensor(ids)).numpy()  # [T, P]
    places, stretch = np.asarray(path), len(codes) / len(path)
    best = [_most_of(odds[:, place], np.flatnonzero(places == place), stretch) for place in spoken]
    return np.log(np.maximum(np.array(best, np.float32), np.float32(LEAST)))


def clarity(odds: NDArray[np.float32]) -> float:
    """Of a take: the mean of its phonemes' log odds [Q]; that of silence where nothing is to be said."""
    return float(odds.mean()) if len(odds) else float(np.log(LEAST))


def _most_of(odds: NDArray[np.float32], tokens: NDArray[np.intp], stretch: float) -> float:
    """The best of a phoneme's odds [T] around the tokens that say it."""
    if not len(tokens):
        return 0.0
    first, last = max(0, tokens[0] - SLACK), tokens[-1] + SLACK + 1
    around = odds[int(first * stretch) : max(int(first * stretch) + 1, round(last * stretch))]
    return float(around.max(initial=0.0))
