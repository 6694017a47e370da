"""`voxray verify`: proven, likely, unknown; broken credentials count for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import speech

from voxray import trust
from voxray.commands import main
from voxray.trust import identity, records, store
from voxray.trust.verify import examine
from voxray.trust.watermark.embed import embed
from voxray.trust.watermark.pattern import pattern

pytestmark = pytest.mark.usefixtures("records_folder")


def on_record(number: int, wave: np.ndarray) -> None:
    with store.writing() as session, records.numbered(number):
        records.begin(session, "owner", "x", voice="v", voice_name="anna", model="m",
                      consent="c-1", key="", seed=1)  # fmt: skip
        records.finish(session, "owner", number, wave, 24_000)


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    wave = embed(speech(), 24_000, pattern(identity.mark_key()).carrying(0xABCD1234))
    soundfile.write(tmp_path / "m.flac", wave, 24_000, subtype="PCM_16")
    on_record(0xABCD1234, soundfile.read(tmp_path / "m.flac", dtype="float32")[0])
    return tmp_path / "m.flac"


def test_the_mark_leads_to_the_record(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = examine(marked)
    assert found.mark is not None and found.mark.number == 0xABCD1234
    assert [item.id for item in found.records] == ["r-abcd1234"]
    assert any("every sample" in line for line in found.proven)
    assert any("anna" in line and "c-1" in line for line in found.likely)
    assert [line.code for line in found.proven] == ["samples-same"]
    assert [line.code for line in found.likely] == ["mark-found", "record-owner"]
    assert found.likely[1].values["voice"] == "'anna'"
    assert main(["verify", str(marked), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["watermark"]["present"] is True
    assert main(["verify", str(marked)]) == 0
    said = capsys.readouterr().out
    assert "likely: spoken by this installation" in said and "unknown: no Content Cred" in said


def test_another_place_knows_nothing(marked: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.flac"
    soundfile.write(short, soundfile.read(marked)[0][:48_000], 24_000)
    trust.use(tmp_path / "elsewhere")
    found = examine(short)
    assert not found.proven and not found.likely and not found.records
    assert any("no watermark" in line for line in found.unknown)


def test_unmarked_sound_proves_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "u.wav", speech(1.5), 24_000)
    found = examine(tmp_path / "u.wav")
    assert not found.proven and not found.likely
    assert any("may still be synthetic" in line for line in found.unknown)


def test_short_and_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "s.wav", speech(0.2), 24_000)
    assert any("too short" in line for line in examine(tmp_path / "s.wav").unknown)
    (tmp_path / "t.wav").write_bytes(b"nonsense")
    assert main(["verify", str(tmp_path / "t.wav")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_broken_credentials_are_said_to_be(tmp_path: Path, marked: Path) -> None:
    pytest.importorskip("c2pa")
    from voxray.synthesis import Synthesis
    from voxray.text import Phonemes
    from voxray.trust import credentials

    nothing = np.zeros(0)
    wave = speech(1.0)
    made = Synthesis(wave, 24_000, "x", Phonemes("", "", (), ()), nothing, nothing, nothing,
                     np.zeros((0, 0)), 5, record="r-abcd1234")  # fmt: skip
    path = tmp_path / "c.wav"
    soundfile.write(path, wave, 24_000)
    credentials.attach(path, made, {"consent": "c-1"})
    found = examine(path)
    assert any("signed by this installation" in line for line in found.proven)
    assert [item.id for item in found.records] == ["r-abcd1234"]
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    found = examine(path)
    assert any("broken" in line for line in found.warnings)
    assert not any("signed by this" in line for line in found.proven)
    folder = tmp_path / "elsewhere"
    path.write_bytes(bytes(data[:2000]) + bytes([data[2000] ^ 1]) + bytes(data[2001:]))
    trust.use(folder)
    found = examine(path)
    assert not found.proven and any("up to you" in line for line in found.likely)


def test_two_marks(tmp_path: Path) -> None:
    """Marked twice with one key: one of the numbers is read, or none, never a third."""
    shape = pattern(identity.mark_key())
    wave = embed(embed(speech(), 24_000, shape.carrying(7)), 24_000, shape.carrying(0xFFFF0009))
    soundfile.write(tmp_path / "2.wav", wave, 24_000)
    found = examine(tmp_path / "2.wav")
    assert found.mark is not None and found.mark.present
    assert found.mark.number in (None, 7, 0xFFFF0009, 9, 0xFFFF0007)


def test_another_installation_marked_it_too(marked: Path) -> None:
    """Keys do not disturb one another: ours is read under somebody else's mark."""
    wave = soundfile.read(marked, dtype="float32")[0]
    soundfile.write(marked, embed(wave, 24_000, pattern(b"x" * 32).carrying(5)), 24_000)
    found = examine(marked)
    assert [item.id for item in found.records] == ["r-abcd1234"]
    assert not found.proven  # the samples are no longer those on record
