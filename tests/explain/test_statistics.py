"""Intervals cover what they should, ranks and AUROC are right, too few items are refused."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.explain.statistics import (
    auroc,
    bootstrap,
    chance_p,
    difference,
    median,
    ranks,
    ratio,
    spearman,
    spearman_interval,
)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    dice = np.random.default_rng(0)
    made = [bootstrap(dice.normal(1.0, 1.0, 40), draws=200, seed=i) for i in range(40)]
    covered = sum(figure.low <= 1.0 <= figure.high for figure in made)
    assert 33 <= covered <= 40


def test_groups_are_drawn_whole() -> None:
    values = np.repeat([0.0, 1.0, 2.0, 3.0], 50)  # four speakers, each always the same
    alone, grouped = bootstrap(values), bootstrap(values, groups=np.repeat(list("abcd"), 50))
    assert grouped.count == 4 and alone.count == 200
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_ranks_correlations_and_auroc() -> None:
    assert ranks([10, 30, 30, 20]).tolist() == [1, 3.5, 3.5, 2]
    assert spearman([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(0.75)
    figure = spearman_interval(np.arange(30), np.arange(30) + np.sin(np.arange(30)), draws=200)
    assert figure.low > 0.9


def test_differences_ratios_and_medians() -> None:
    figure = difference(np.arange(20) + 2.0, np.arange(20))
    assert figure.value == figure.low == figure.high == pytest.approx(2)
    assert ratio([2, 4, 6], [1, 2, 3]).value == pytest.approx(2)
    assert bootstrap([1, 2, 99], median).value == 2
    assert chance_p(5.0, np.zeros(99)) == pytest.approx(0.01)


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="3 items or more; there are 2"):
        bootstrap([1.0, 2.0])
    with pytest.raises(ValueError, match="not finite"):
        bootstrap([1.0, 2.0, float("nan")])
    with pytest.raises(ValueError, match="both kinds"):
        auroc([1, 2, 3], [1, 1, 1])
    with pytest.raises(ValueError, match="pairs"):
        ratio([1, 2, 3], [1, 2, 3, 4])
