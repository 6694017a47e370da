"""Forced alignment on planted log-probabilities: loudness keeps words out of silence, and silence out of words."""

from __future__ import annotations

import numpy as np

from voxray.train.align import forced_spans

SILENCE, SYMBOLS = 0, 6


def scores(path: list[int], sure: float = 0.9) -> np.ndarray:
    """Log-probabilities [T, symbols] of a recogniser that hears `path`."""
    odds = np.full((len(path), SYMBOLS), (1 - sure) / (SYMBOLS - 1))
    odds[np.arange(len(path)), path] = sure
    return np.log(odds)


def loudness(loud: list[bool]) -> np.ndarray:
    return np.where(loud, -10.0, -60.0)


def test_the_spoken_path_is_found() -> None:
    path = [0] * 5 + [1] * 4 + [2] * 6 + [3] * 5 + [0] * 5
    level = loudness([symbol > 0 for symbol in path])
    spans, score = forced_spans(scores(path), [1, 2, 3], SILENCE, level)
    assert spans[:, 0].tolist() == [5, 9, 15]
    assert spans[0, 1] == 9 and spans[1, 1] == 15
    assert score > np.log(0.8)


def test_a_recogniser_that_hears_silence_only_cannot_hide_the_words() -> None:
    level = loudness([False] * 40 + [True] * 30 + [False] * 40)
    deaf = scores([SILENCE] * 110, 0.97)
    spans, score = forced_spans(deaf, [1, 2, 3], SILENCE, level)
    assert spans[0, 0] <= 40 and spans[2, 1] >= 70  # all that is loud is somebody's
    assert score < -2.5  # and nobody is proud of it
    hidden, praised = forced_spans(deaf, [1, 2, 3], SILENCE)
    assert hidden[0, 0] > 90 and praised > -0.5  # what happens without the level


def test_silence_between_words_belongs_to_no_mark() -> None:
    path = [1] * 6 + [0] * 20 + [2] * 6
    level = loudness([symbol > 0 for symbol in path])
    spans, score = forced_spans(scores(path), [1, 2], SILENCE, level)
    assert spans[1, 1] == 32 and 6 <= spans[1, 0] <= 26
    assert score > np.log(0.8)


def test_a_text_that_finds_no_room_is_refused() -> None:
    path = [1] * 3 + [2] * 3
    level = loudness([True] * 6)
    _, score = forced_spans(scores(path), [3, 4, 5, 3, 4, 5, 3, 4, 5, 3], SILENCE, level)
    assert score == float("-inf")
