"""Which moments of the reference a word's sound was looked up in, and taken from.

    explain.reference.look_ups(opened)    # of a trace: for each word the strongest moments, in seconds
    explain.reference.retrievals(opened)  # the moments whose fine latents the word got

In: speech of a model that looks up the reference's frames (`models/memory.py`). The look-up's attention
[H, frames spoken, 1 + frames of the reference] is recorded in a replay, heads and the word's frames averaged;
what falls on the first column found nothing alike there. Weights are attention: correlational. The retrieval
(`models/retrieval.py`) copies the fine latents of a few frames of the reference for each frame spoken; which ones,
and what share of each was taken, is read in the same replay: no guess, that is how the sound was made. Seconds
count in the reference as it was heard (silent ends cut off); of a voice joined from several recordings,
in its parts one behind the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..models import retrieval as fine
from ..models.calibration import corrected
from . import replay
from .memory import RETRIEVED, Retrieval, looks_up
from .replay import Passage, Spoken
from .tracing import Trace

PATTERN = "prior.memory.attn.pattern"
FRAMES = 2  # a token
SEEN, COPIED = "correlational", "by construction: copied from there"
BESIDE = 1  # tokens around a peak that belong to it
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Moment:
    """A stretch of the reference, and the share of a word's look-ups (or fine latents) that fell on it."""

    start_s: float
    end_s: float
    weight: float


@dataclass(frozen=True)
class LookUp:
    """One word: the strongest moments first; `nothing` is the share that found nothing alike, and (of a
    retrieval) stayed as the prior predicted it.
    """

    word: int
    text: str
    start_s: float
    end_s: float
    moments: tuple[Moment, ...]
    nothing: float
    claim: str = SEEN

    def to_json(self) -> dict[str, Any]:
        """As plain numbers."""
        return {
            "word": self.text,
            "start_s": round(self.start_s, 4),
            "end_s": round(self.end_s, 4),
            "nothing": round(self.nothing, 4),
            "moments": [
                {"start_s": round(m.start_s, 3), "end_s": round(m.end_s, 3),
                 "weight": round(m.weight, 4)}
                for m in self.moments
            ],
            "claim": self.claim,
        }  # fmt: skip


def look_ups(speech: Spoken | Trace, count: int = 3) -> list[LookUp]:
    """Each word that was said, with the `count` strongest moments of the reference."""
    spoken = speech.spoken if isinstance(speech, Trace) else speech
    return _by_word(spoken, count, SEEN, lambda passage: attention(spoken, passage))


def retrievals(speech: Spoken | Trace, count: int = 3) -> list[LookUp]:
    """Each word that was said, with the `count` moments most of its fine latents were copied from."""
    spoken = speech.spoken if isinstance(speech, Trace) else speech
    return _by_word(spoken, count, COPIED, lambda passage: copied(spoken, passage))


def retrieves(speech: Spoken) -> bool:
    """Whether fine latents of this speech came from the reference."""
    return looks_up(speech) and bool(replay.variational(speech.models).config.retrieval)


def _by_word(
    spoken: Spoken, count: int, claim: str, weights_of: Callable[[Passage], Floats]
) -> list[LookUp]:
    found: list[LookUp] = []
    for passage in spoken.passages:
        weights = weights_of(passage)  # [S, 1 + R]
        said = np.array([passage.words[place] for place in passage.path])
        for word in dict.fromkeys(word for word in said.tolist() if word >= 0):
            mean = weights[said == word].mean(0)
            time = spoken.synthesis.words[word]
            best = moments(mean[1:], token_seconds(spoken), count)
            found.append(
                LookUp(word, time.text, time.start_s, time.end_s, best, float(mean[0]), claim)
            )
    return found


def copied(speech: Spoken, passage: Passage) -> Floats:
    """Share of each spoken token's fine latents that was kept, and copied from each token of the reference,
    [S, 1 + R]; rows sum to one.
    """
    if not retrieves(speech):
        raise ValueError(
            f"the voice {speech.voice.name!r} of the model {speech.models.name!r} retrieves no fine latents "
            "of a reference: there is nothing to show"
        )
    generator = replay.variational(speech.models)
    retrieval = Retrieval(generator)
    seen: list[tuple[Floats, Floats]] = []

    def note(z: Tensor) -> Tensor:  # [1, Z, T]
        if retrieval.heard is not None and retrieval.heard.latents.shape[2]:
            features = fine.at_pace(retrieval.features, z)
            asked = corrected(retrieval.z, features, retrieval.heard.correction)
            index, cost = fine.alike(asked, features, retrieval.heard, retrieval.count)
            weights, taken = fine.shares(cost)  # [1, T, K], [1, T]
            seen.append((index[0].numpy().copy(), (weights * taken[..., None])[0].numpy().copy()))
        return z

    replay.sound(speech, passage, {**retrieval.edits(lambda: retrieval.z), RETRIEVED: note})
    index, taken = seen[-1]  # [T, K] each
    tokens = len(passage.tokens)
    place = np.arange(len(index)) * tokens // len(index)  # the token of each frame
    assert speech.voice.memory is not None
    columns = 1 + speech.voice.memory.tokens.shape[1]
    first, size = place * columns, tokens * columns  # of each frame's row in the flat table
    where = first[:, None] + 1 + index // FRAMES  # [T, K]
    flat = np.bincount(where.ravel(), taken.ravel(), size)
    flat = flat + np.bincount(first, 1 - taken.sum(1), size)
    weights = flat.reshape(tokens, columns)
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)


def attention(speech: Spoken, passage: Passage) -> Floats:
    """Attention of the spoken tokens to nothing and to the reference's tokens, [S, 1 + R]."""
    if not looks_up(speech):
        raise ValueError(
            f"the voice {speech.voice.name!r} of the model {speech.models.name!r} remembers no frames "
            "of a reference: there is nothing to look up"
        )
    seen: list[Floats] = []

    def note(pattern: Tensor) -> Tensor:  # [1, H, 2 S, 1 + 2 R]
        seen.append(pattern[0].float().mean(0).numpy().copy())
        return pattern

    replay.sound(speech, passage, {PATTERN: note})
    frames = seen[0][-FRAMES * len(passage.tokens) :]
    rows = frames.reshape(-1, FRAMES, frames.shape[1]).mean(1)  # [S, 1 + 2 R]
    tokens = rows[:, 1:].reshape(len(rows), -1, FRAMES).sum(2)
    return np.concatenate([rows[:, :1], tokens], axis=1)


def token_seconds(speech: Spoken) -> float:
    """How long a token of the reference is."""
    generator = replay.variational(speech.models).config
    return FRAMES * generator.hop / generator.sample_rate


def moments(weights: Floats, seconds: float, count: int) -> tuple[Moment, ...]:
    """The strongest peaks of weights [R] over tokens of so many seconds, each with its neighbours."""
    left = np.array(weights, np.float64)
    made = []
    for _ in range(min(count, len(left))):
        peak = int(left.argmax())
        if left[peak] <= 0:
            break
        first, last = max(0, peak - BESIDE), min(len(left), peak + BESIDE + 1)
        share = float(left[first:last].sum())
        made.append(Moment(first * seconds, last * seconds, share))
        left[first:last] = 0.0
    return tuple(sorted(made, key=lambda moment: -moment.weight))
