"""Figures with their uncertainty: bootstrap intervals, rank correlation, AUROC, shared by all of `explain`.

In: one number per item (utterance, head, token) and, where items hang together, the group of each.
Out: an `Interval`: the value, its 95 % bootstrap interval (Efron 1979, percentile method) and how many
items stand behind it. Fewer than `LEAST` items, or values that are not finite, are errors: no
statistic is better than one about nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 3  # items below which an interval says nothing
DRAWS = 2000

Numbers = NDArray[np.float64]
Statistic = Callable[[Numbers], float]


@dataclass(frozen=True)
class Interval:
    """A figure, its 95 % interval and the number of items behind it."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}], n = {self.count}"

    def to_json(self) -> dict[str, float]:
        """As a plain dict."""
        return asdict(self)


def _checked(values: ArrayLike, what: str, least: int = LEAST) -> Numbers:
    array = np.asarray(values, np.float64).ravel()
    if len(array) < least:
        raise ValueError(f"{what} needs {least} items or more; there are {len(array)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: {int((~np.isfinite(array)).sum())} values are not finite")
    return array


def mean(values: Numbers) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


def median(values: Numbers) -> float:
    """The middle value."""
    return float(np.median(values))


def bootstrap(
    values: ArrayLike,
    statistic: Statistic = mean,
    *,
    groups: Sequence[object] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """`statistic` of the values [N] with a percentile bootstrap over items, or over whole groups."""
    array = _checked(values, "a bootstrap interval")
    members = _members(array, groups)
    dice = np.random.default_rng(seed)
    made = np.empty(draws)
    for draw in range(draws):
        chosen = dice.integers(0, len(members), len(members))
        made[draw] = statistic(array[np.concatenate([members[i] for i in chosen])])
    low, high = np.nanquantile(made, [0.025, 0.975])
    return Interval(statistic(array), float(low), float(high), len(members))


def _members(array: Numbers, groups: Sequence[object] | None) -> list[NDArray[np.int64]]:
    if groups is None:
        return list(np.arange(len(array))[:, None])
    if len(groups) != len(array):
        raise ValueError(f"{len(groups)} group names for {len(array)} values")
    names = np.asarray([str(name) for name in groups])
    found = [np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())]
    if len(found) < LEAST:
        raise ValueError(f"a bootstrap over groups needs {LEAST} or more; there are {len(found)}")
    return found


def difference(one: ArrayLike, other: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean of the paired differences one - other, with its interval."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs wanted; got {first.shape} and {second.shape} values")
    return bootstrap(first - second, draws=draws, seed=seed)


def ratio(above: ArrayLike, below: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Sum of `above` / sum of `below`, items drawn in pairs."""
    top, bottom = _checked(above, "a ratio"), _checked(below, "a ratio")
    if len(top) != len(bottom):
        raise ValueError(f"pairs wanted; got {len(top)} and {len(bottom)} values")
    if bottom.sum() == 0:
        raise ValueError("a ratio's lower part is zero")
    drawn = np.random.default_rng(seed).integers(0, len(top), (draws, len(top)))
    sums = bottom[drawn].sum(1)
    ratios = top[drawn].sum(1)[sums != 0] / sums[sums != 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(top.sum() / bottom.sum()), float(low), float(high), len(top))


def ranks(values: ArrayLike) -> Numbers:
    """Ranks from 1; equal values share the mean of their ranks."""
    array = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2.0)[inverse]


def pearson(one: ArrayLike, other: ArrayLike) -> float:
    """Linear correlation; nan where one side does not vary."""
    first, second = _checked(one, "a correlation"), _checked(other, "a correlation")
    if len(first) != len(second):
        raise ValueError(f"pairs wanted; got {len(first)} and {len(second)} values")
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(first @ second / size) if size > 0 else float("nan")


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Rank correlation (Spearman 1904); nan where one side does not vary."""
    return pearson(
        ranks(_checked(one, "a rank correlation")), ranks(_checked(other, "a rank correlation"))
    )


def spearman_interval(
    one: ArrayLike, other: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Rank correlation with a bootstrap over the pairs."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    value = spearman(first, second)
    dice = np.random.default_rng(seed)
    made = [
        spearman(first[rows], second[rows])
        for rows in dice.integers(0, len(first), (draws, len(first)))
    ]
    low, high = np.nanquantile(made, [0.025, 0.975])
    return Interval(value, float(low), float(high), len(first))


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Chance that a positive item scores above a negative one (Mann-Whitney); ties count half."""
    values, truth = _checked(scores, "an AUROC", 2), np.asarray(positive, bool).ravel()
    good, bad = int(truth.sum()), int((~truth).sum())
    if len(values) != len(truth) or not good or not bad:
        raise ValueError(f"an AUROC needs items of both kinds; got {good} and {bad}")
    return float((ranks(values)[truth].sum() - good * (good + 1) / 2) / (good * bad))


def chance_p(observed: float, by_chance: ArrayLike) -> float:
    """Share of chance results (permutations, random edits) at least as large, observed included."""
    made = _checked(by_chance, "a permutation test", 1)
    return float((1 + (made >= observed).sum()) / (1 + len(made)))
