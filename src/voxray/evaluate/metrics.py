"""The figures: error rates, lost, repeated and leaked runs, similarity, and how sure they are.

Tokens are words (English) or characters / toneless syllables (Mandarin), see `normalise`.
An `Alignment` is the cheapest edit path; among equal ones that with the fewest separate gaps, so
that a lost phrase is one run. Everything is plain Python and numpy: no judge is needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
RUN = {"en": 2, "zh": 3}  # words, characters: what counts as a lost or repeated run
LONG_WORD = 5  # letters: a single leaked word shorter than this may be chance
_STEP, _OPEN = 1000, 1  # an edit, and the tie-breaking price of starting a gap
_NEVER = 10**12


@dataclass(frozen=True)
class Edit:
    """One step of an alignment; an index is -1 where its side has nothing."""

    kind: str  # "equal", "substitute", "delete", "insert"
    target: int
    heard: int


@dataclass(frozen=True)
class Alignment:
    """How what was heard relates to what was to be said."""

    target: tuple[str, ...]
    heard: tuple[str, ...]
    edits: tuple[Edit, ...]

    @property
    def errors(self) -> int:
        """Substitutions, deletions, insertions; words that are only split differently are none."""
        return sum(len(block) for block in self._blocks() if not self._same_letters(block))

    def _blocks(self) -> list[list[Edit]]:
        grouped = groupby(self.edits, key=lambda edit: edit.kind == "equal")
        return [list(block) for equal, block in grouped if not equal]

    def _same_letters(self, block: list[Edit]) -> bool:
        said = "".join(self.target[e.target] for e in block if e.target >= 0)
        return said == "".join(self.heard[e.heard] for e in block if e.heard >= 0)

    def lost(self, length: int) -> list[tuple[int, int]]:
        """Spans [start, end) of the target, `length` tokens or more, that were not heard at all."""
        runs = _runs(self.edits, "delete", length)
        return [(run[0].target, run[-1].target + 1) for run in runs]

    def inserted(self, length: int) -> list[tuple[int, int]]:
        """Spans of what was heard, `length` tokens or more, that nobody asked for."""
        runs = _runs(self.edits, "insert", length)
        return [(run[0].heard, run[-1].heard + 1) for run in runs]

    def repeated(self, length: int) -> list[tuple[int, int]]:
        """Inserted spans that hold `length` tokens in a row which also stand in the target."""
        known = _windows(self.target, length)
        spans = self.inserted(length)
        return [(a, b) for a, b in spans if _windows(self.heard[a:b], length) & known]


def _runs(edits: Sequence[Edit], kind: str, length: int) -> list[list[Edit]]:
    grouped = groupby(edits, key=lambda edit: edit.kind)
    runs = (list(run) for found, run in grouped if found == kind)
    return [run for run in runs if len(run) >= length]


def _windows(tokens: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)}


def align(target: Sequence[str], heard: Sequence[str]) -> Alignment:
    """The path from `target` [N] to `heard` [M] with the fewest errors, then the fewest gaps."""
    # Gotoh: the cheapest path to (i, j) that ends in a pair, a deletion, an insertion, and for
    # each of the three what the step before it was.
    above: list[tuple[int, int, int]] = []
    back: list[list[tuple[int, int, int]]] = []
    for i in range(len(target) + 1):
        row: list[tuple[int, int, int]] = []
        steps: list[tuple[int, int, int]] = []
        for j in range(len(heard) + 1):
            pair = delete = insert = (_NEVER, 0)
            if i and j:
                price = 0 if target[i - 1] == heard[j - 1] else _STEP
                pair = _cheapest(above[j - 1], price, price, price)
            if i:
                delete = _cheapest(above[j], _STEP + _OPEN, _STEP, _STEP + _OPEN)
            if j:
                insert = _cheapest(row[j - 1], _STEP + _OPEN, _STEP + _OPEN, _STEP)
            row.append((pair[0], delete[0], insert[0]) if i or j else (0, _NEVER, _NEVER))
            steps.append((pair[1], delete[1], insert[1]))
        above = row
        back.append(steps)
    state = above[-1].index(min(above[-1]))
    return Alignment(tuple(target), tuple(heard), _path(target, heard, back, state))


def _cheapest(costs: tuple[int, int, int], *prices: int) -> tuple[int, int]:
    a, b, c = costs[0] + prices[0], costs[1] + prices[1], costs[2] + prices[2]
    if a <= b:
        return (a, 0) if a <= c else (c, 2)
    return (b, 1) if b <= c else (c, 2)


def _path(
    target: Sequence[str], heard: Sequence[str], back: list[list[tuple[int, int, int]]], state: int
) -> tuple[Edit, ...]:
    i, j = len(target), len(heard)
    edits: list[Edit] = []
    while i or j:
        before = back[i][j][state]
        if state == 0:
            i, j = i - 1, j - 1
            edits.append(Edit("equal" if target[i] == heard[j] else "substitute", i, j))
        elif state == 1:
            i -= 1
            edits.append(Edit("delete", i, -1))
        else:
            j -= 1
            edits.append(Edit("insert", -1, j))
        state = before
    return tuple(reversed(edits))


def best_alignment(targets: list[list[str]], heards: list[list[str]]) -> Alignment:
    """The pair of readings that agree best (numerals can be said in several ways)."""
    made = [align(target, heard) for target in targets for heard in heards]
    return min(made, key=lambda a: a.errors / max(1, len(a.target)))


def leaked(alignment: Alignment, transcript: Sequence[str], language: str) -> list[str]:
    """Words of the reference's transcript that were heard though nobody asked for them.

    A leak is a run of heard tokens outside the matching part (2 words, 3 characters) that stands
    in the transcript and not in the target; in English also one inserted word of 5 letters or more.
    """
    length = RUN[language]
    foreign = _windows(transcript, length) - _windows(alignment.target, length)
    wrong = {edit.heard for edit in alignment.edits if edit.kind in ("substitute", "insert")}
    found = [
        " ".join(alignment.heard[i : i + length])
        for i in range(len(alignment.heard) - length + 1)
        if wrong.issuperset(range(i, i + length))
        and tuple(alignment.heard[i : i + length]) in foreign
    ]
    if language == "en":
        strange = {word for word in transcript if len(word) >= LONG_WORD} - set(alignment.target)
        inserted = [e.heard for e in alignment.edits if e.kind == "insert"]
        found += [alignment.heard[i] for i in inserted if alignment.heard[i] in strange]
    return found


def cosine(one: Vector, other: Vector) -> float:
    """Similarity of two embeddings [D]."""
    return float(one @ other / max(1e-9, float(np.linalg.norm(one) * np.linalg.norm(other))))


def normalised_similarity(similarity: float, same: float, impostor: float) -> float:
    """(s - impostor) / (same - impostor): 0 is any speaker of that sex, 1 the speaker's own clips.

    Meaningless (nan) where the judge cannot tell the speaker's own clips from impostors.
    """
    spread = same - impostor
    return (similarity - impostor) / spread if spread > 0.02 else float("nan")


def identify(voice: Vector, enrolled: NDArray[np.float32]) -> int:
    """Which of the enrolled speakers [20, D] the embedding [D] is most like."""
    norms = np.linalg.norm(enrolled, axis=1) * np.linalg.norm(voice)
    return int((enrolled @ voice / np.maximum(norms, 1e-9)).argmax())


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval (bootstrap over texts) and the number of clips behind it."""

    value: float
    low: float
    high: float
    count: int


def figure(
    above: Sequence[float],
    below: Sequence[float] | None = None,
    groups: Sequence[str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Figure:
    """Sum of `above` / sum of `below` (default: the mean) with a bootstrap interval.

    `groups` are redrawn whole: clips of one text with other seeds are not independent.
    """
    tops = np.asarray(above, np.float64)
    bottoms = np.ones_like(tops) if below is None else np.asarray(below, np.float64)
    kept = np.isfinite(tops) & np.isfinite(bottoms)
    if not kept.any() or bottoms[kept].sum() == 0:
        return Figure(float("nan"), float("nan"), float("nan"), 0)
    names = np.asarray(list(groups) if groups is not None else np.arange(len(tops)))[kept]
    _, index = np.unique(names, return_inverse=True)
    top, bottom = np.bincount(index, tops[kept]), np.bincount(index, bottoms[kept])
    drawn = np.random.default_rng(seed).integers(0, len(top), (draws, len(top)))
    sums = bottom[drawn].sum(1)
    ratios = top[drawn].sum(1)[sums != 0] / sums[sums != 0]
    low, high = np.quantile(ratios, [0.025, 0.975]) if len(ratios) else (float("nan"),) * 2
    return Figure(float(top.sum() / bottom.sum()), float(low), float(high), int(kept.sum()))
