"""Events per word: found, measured against what is beside them, refused where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.explain import events
from voxray.explain.events import Curves
from voxray.explain.replay import Passage

PASSAGE = Passage(
    number=0, items=(0, 1, 2, 3, 4), words=(0, 1, -1, 2, 2), ids=(9, 8, 7, 6, 5),
    tokens=tuple(range(25)), path=tuple(i // 5 for i in range(25)), begin=0,
)  # fmt: skip
NAMES = ["so", "really", "well"]
TIMES = [(0.0, 0.2), (0.2, 0.4), (0.6, 1.0)]


def run(rise: float = 0.0, louder: float = 0.0) -> Curves:
    path = np.array(PASSAGE.path)
    octaves = np.where(path == 1, rise / 12, 0.0)
    octaves[path == 2] = np.nan
    return Curves(octaves, np.where(path == 1, louder - 20.0, -20.0), PASSAGE.path)


def test_a_rise_is_found_with_its_size() -> None:
    found = events.find(PASSAGE, run(rise=3.0), NAMES, TIMES, 0.04)
    assert (found[0].name, found[0].text) == ("rise", "really")
    assert found[0].size == pytest.approx(3.0)


def test_a_pause_is_as_long_as_its_tokens() -> None:
    found = events.find(PASSAGE, run(), NAMES, TIMES, 0.04)
    assert [(e.name, e.text, round(e.size, 2)) for e in found] == [("pause", "really", 0.2)]


def test_loud_words() -> None:
    found = events.find(PASSAGE, run(louder=6.0), NAMES, TIMES, 0.04)
    assert ("louder", "really") in [(e.name, e.text) for e in found]


def test_times_pick_events_and_refuse_nothing() -> None:
    found = events.find(PASSAGE, run(rise=3.0), NAMES, TIMES, 0.04)
    assert events.at(found, 0.3, 1.0).name == "rise"
    assert events.at(found, 0.5, 1.0).name == "pause"
    even = events.find(PASSAGE, run(), NAMES, TIMES, 0.04)
    with pytest.raises(ValueError, match="nothing stands out at 0.05"):
        events.at(even, 0.05, 1.0)
    with pytest.raises(ValueError, match="outside the clip"):
        events.at(found, 3.0, 1.0)


def test_unknown_properties_and_words() -> None:
    with pytest.raises(ValueError, match="pitch, loudness, pause"):
        events.measure_of(PASSAGE, 1, "colour", 0.04)
    with pytest.raises(ValueError, match="not said"):
        events.measure_of(PASSAGE, 7, "pitch", 0.04)


def test_a_word_that_is_not_said_has_no_value() -> None:
    measure = events.measure_of(PASSAGE, 2, "pitch", 0.04)
    assert np.isnan(measure(Curves(np.zeros(5), np.zeros(5), (0,) * 5)))
