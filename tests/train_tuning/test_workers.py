"""Several workers give what one gives, in order, also when one of them is killed; noise is lowered."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import speechlike
from voxray.train.prepare import add_pitch, prepare
from voxray.train.store import Store
from voxray.train.workers import ahead


def doubled(given: tuple[int, str]) -> int:
    """Twice the number; the first who comes to 5 kills its process, as want of memory would."""
    number, marker = given
    if number == 5 and marker:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def deadly(number: int) -> int:
    """Nobody survives a 3."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_one_worker_is_a_plain_map() -> None:
    assert list(ahead(doubled, [(n, "") for n in range(4)])) == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="0 workers"):
        list(ahead(doubled, [], 0))


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    marker = str(tmp_path / "killed")
    assert list(ahead(doubled, [(n, marker) for n in range(20)], 2)) == [2 * n for n in range(20)]
    assert Path(marker).exists()


@pytest.mark.slow
def test_what_kills_every_worker_is_named() -> None:
    done = []
    with pytest.raises(OSError, match="a worker died on"):
        done.extend(ahead(deadly, range(6), 2))


@pytest.mark.slow
def test_a_store_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    rows = ["path\tspeaker\ttext\tsplit\tlanguage\n"]
    for n in range(4):
        soundfile.write(tmp_path / f"{n}.wav", speechlike(1.0 + n / 5), 16_000)
        rows.append(f"{n}.wav\ta\thello\ttrain\ten\n")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    rows.append("bad.wav\ta\thello\ttrain\ten\n")
    table = tmp_path / "people.tsv"
    table.write_text("".join(rows), encoding="utf-8")
    reports = [prepare([table], tmp_path / f"s{n}", workers=n) for n in (1, 2)]
    assert reports[0] == reports[1]
    assert reports[0]["kept"] == 4
    assert reports[0]["unreadable"] == 1
    one, two = (Store(tmp_path / f"s{n}") for n in (1, 2))
    assert one.entries == two.entries
    assert np.array_equal(one.wave, two.wave)
    for n in (1, 2):
        add_pitch(tmp_path / f"s{n}", workers=n)
    assert (tmp_path / "s1/f0.f16").read_bytes() == (tmp_path / "s2/f0.f16").read_bytes()


def test_a_clip_of_another_folder_with_a_known_name_is_told(tmp_path: Path) -> None:
    tables = []
    for folder, text in (("one", "hello"), ("two", "goodbye")):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "0.wav", speechlike(1.0), 16_000)
        tables.append(tmp_path / folder / "people.tsv")
        row = f"0.wav\ta\t{text}\ttrain\ten\n"
        tables[-1].write_text("path\tspeaker\ttext\tsplit\tlanguage\n" + row, encoding="utf-8")
    report = prepare([*tables, tables[0]], tmp_path / "store")
    assert report == {"kept": 1, "another clip or text has this name": 1, "listed twice": 1}
    again = prepare(tables, tmp_path / "store")
    assert again == {"already there": 1, "another clip or text has this name": 1}
    assert [entry.text for entry in Store(tmp_path / "store").entries] == ["hello"]
