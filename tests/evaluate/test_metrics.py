"""Figures on alignments whose truth is known: what was lost, repeated, leaked; how sure."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.evaluate import metrics

TARGET = "the old man walked slowly down to the harbor every morning".split()


def test_identical_texts_have_no_errors() -> None:
    alignment = metrics.align(TARGET, TARGET)
    assert alignment.errors == 0
    assert not alignment.lost(1)
    assert not alignment.inserted(1)


def test_errors_are_counted_by_kind() -> None:
    heard = "the cold man walked slowly to the harbor every single morning".split()
    alignment = metrics.align(TARGET, heard)
    assert alignment.errors == 3  # old -> cold, down lost, single added
    assert alignment.lost(2) == []


def test_a_lost_run_is_found_where_it_is() -> None:
    alignment = metrics.align(TARGET, TARGET[:3] + TARGET[6:])
    assert alignment.lost(2) == [(3, 6)]
    assert alignment.lost(4) == []


def test_a_lost_repetitive_phrase_stays_one_run() -> None:
    target = "no no no please do not go please do not go".split()
    alignment = metrics.align(target, "no no no please do not go".split())
    assert [end - start for start, end in alignment.lost(2)] == [4]


def test_a_repeated_run_is_told_from_added_words() -> None:
    repeated = metrics.align(TARGET, TARGET[:6] + TARGET[3:6] + TARGET[6:])
    assert len(repeated.repeated(2)) == 1
    added = metrics.align(TARGET, [*TARGET, "thanks", "for", "watching"])
    assert added.repeated(2) == []
    assert added.inserted(2) == [(11, 14)]


def test_words_split_differently_are_no_errors() -> None:
    assert metrics.align(["every", "day", "now"], ["everyday", "now"]).errors == 0
    assert metrics.align(["icecream"], ["ice", "cream"]).errors == 0
    assert metrics.align(["ice", "cream"], ["ice", "dream"]).errors == 1


def test_empty_sides() -> None:
    assert metrics.align([], []).errors == 0
    assert metrics.align(TARGET, []).lost(2) == [(0, len(TARGET))]
    assert metrics.align([], ["so"]).errors == 1


def test_the_fewest_errors_are_found() -> None:
    random = np.random.default_rng(3)
    for _ in range(30):
        one, other = (list(random.choice(list("abc"), random.integers(0, 8))) for _ in range(2))
        edits = metrics.align(one, other).edits
        assert sum(edit.kind != "equal" for edit in edits) == _levenshtein(one, other)


def _levenshtein(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return len(one) + len(other)
    change = _levenshtein(one[1:], other[1:]) + (one[0] != other[0])
    if one[0] == other[0]:
        return change
    return min(change, 1 + _levenshtein(one[1:], other), 1 + _levenshtein(one, other[1:]))


def test_leaked_words_come_from_the_reference() -> None:
    transcript = "my grandmother kept bees behind the house".split()
    clean = metrics.align(TARGET, TARGET)
    assert metrics.leaked(clean, transcript, "en") == []
    heard = ["kept", "bees", *TARGET]
    assert "kept bees" in metrics.leaked(metrics.align(TARGET, heard), transcript, "en")
    one_word = metrics.align(TARGET, ["grandmother", *TARGET])
    assert metrics.leaked(one_word, transcript, "en") == ["grandmother"]
    chance = metrics.align(TARGET, [*TARGET, "the"])
    assert metrics.leaked(chance, transcript, "en") == []


def test_leaked_characters_come_in_threes() -> None:
    target, transcript = list("今天天气很好"), list("他喜欢吃苹果")
    assert metrics.leaked(metrics.align(target, list("苹果今天天气很好")), transcript, "zh") == []
    leak = metrics.align(target, list("吃苹果今天天气很好"))
    assert metrics.leaked(leak, transcript, "zh") == ["吃 苹 果"]


def test_normalised_similarity_is_one_for_the_speaker_and_zero_for_an_impostor() -> None:
    assert metrics.normalised_similarity(0.8, 0.8, 0.3) == pytest.approx(1.0)
    assert metrics.normalised_similarity(0.3, 0.8, 0.3) == pytest.approx(0.0)
    assert np.isnan(metrics.normalised_similarity(0.3, 0.30, 0.30))


def test_the_right_speaker_is_found_among_twenty() -> None:
    random = np.random.default_rng(0)
    enrolled = random.normal(size=(20, 64)).astype(np.float32)
    voice = enrolled[7] + 0.3 * random.normal(size=64).astype(np.float32)
    assert metrics.identify(voice, enrolled) == 7
    assert metrics.cosine(voice, enrolled[7]) > 0.8


def test_a_figure_is_the_ratio_of_sums_with_an_interval() -> None:
    figure = metrics.figure([1, 0, 2, 1], [10, 10, 20, 10])
    assert figure.value == pytest.approx(4 / 50)
    assert figure.low <= figure.value <= figure.high
    assert figure.count == 4


def test_seeds_of_one_text_are_redrawn_together() -> None:
    values = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0] * 4
    texts = [f"t{i // 3}" for i in range(24)]
    apart = metrics.figure(values)
    together = metrics.figure(values, groups=texts)
    assert together.high - together.low > apart.high - apart.low


def test_figures_skip_what_is_not_known() -> None:
    assert metrics.figure([1.0, float("nan"), 3.0]).value == pytest.approx(2.0)
    assert metrics.figure([]).count == 0
    assert np.isnan(metrics.figure([]).value)
