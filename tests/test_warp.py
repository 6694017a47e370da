"""Clips at another speed are other speakers, with pitch, times and phonemes that still fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import speechlike
from voxray import audio
from voxray.train.label import read_labels
from voxray.train.pitch import f0_track
from voxray.train.prepare import add_pitch, prepare
from voxray.train.store import Store
from voxray.train.warp import write_warped


@pytest.fixture
def store(tmp_path: Path) -> Path:
    audio.write_audio(tmp_path / "a.wav", speechlike(2.0), 16_000)
    manifest = tmp_path / "people.tsv"
    manifest.write_text("path\tspeaker\tlanguage\ttext\tsplit\na.wav\ts\ten\tHi.\ttrain\n")
    folder = tmp_path / "data"
    prepare([manifest], folder)
    add_pitch(folder)
    row = {"name": "a.wav", "ids": [5, 6], "spans": [[10, 50], [50, 100]]}
    (folder / "labels_people.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "labels.jsonl").write_text("")
    np.save(folder / "codebook.npy", np.zeros((4, 2), np.float32))
    return folder


def test_a_faster_clip_is_a_higher_speaker(store: Path, tmp_path: Path) -> None:
    assert write_warped(store, tmp_path / "more", [1.25], lambda entry: True) == 1
    more = Store(tmp_path / "more")
    first, moved = more.entries
    assert moved.speaker == f"{first.speaker}@1.25" and moved.text == first.text
    assert moved.start % 960 == 0 and abs(moved.samples - first.samples / 1.25) <= 1920
    f0 = more.array("f0.f16", "float16", 240)
    given = f0[moved.start // 240 : (moved.start + moved.samples) // 240].astype(np.float32)
    found = f0_track(more.audio(moved))
    both = (given > 0) & (found[: len(given)] > 0)
    assert both.sum() > 20
    assert np.median(np.abs(np.log2(given[both] / found[: len(given)][both]))) < 0.05
    label = read_labels(tmp_path / "more", ("labels_people.jsonl",))[moved.name]
    assert label.spans.tolist() == [[8, 40], [40, 80]]
    assert np.array_equal(more.audio(first), Store(store).audio(Store(store).entries[0]))


def test_clips_without_a_text_move_too_and_workers_change_nothing(
    store: Path, tmp_path: Path
) -> None:
    row = {"name": "a.wav", "ids": [77], "spans": [[0, 100]]}
    (store / "labels_people.jsonl").write_text("")
    (store / "labels_untold.jsonl").write_text(json.dumps(row) + "\n")
    for name, workers in (("one", 1), ("two", 2)):
        assert write_warped(store, tmp_path / name, [0.8, 1.25], lambda entry: True, workers) == 2
    one, two = (Store(tmp_path / name) for name in ("one", "two"))
    assert one.entries == two.entries and np.array_equal(one.wave, two.wave)
    untold = read_labels(tmp_path / "one", ("labels_untold.jsonl",))
    assert list(untold) == ["a.wav", "a.wav@0.8", "a.wav@1.25"]
    assert untold["a.wav@1.25"].spans.tolist() == [[0, 80]]
    assert not read_labels(tmp_path / "one", ("labels_people.jsonl",))


def test_a_factor_that_leaves_no_voice_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="between"):
        write_warped(store, tmp_path / "more", [3.0], lambda entry: True)


def test_a_store_whose_people_are_not_aligned_is_told_what_comes_first(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train restart"):
        write_warped(tmp_path, tmp_path / "out", (0.9,), lambda entry: True)
    assert not (tmp_path / "out").exists()
