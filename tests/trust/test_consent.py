"""Consent records: signed, scoped, bound to one voice, one recording and one number."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from voxray import audio
from voxray.bundle import Bundle
from voxray.trust import Refused, consent, reading, store
from voxray.trust.agreement import written
from voxray.trust.consent import Wanted
from voxray.voice import Voice

pytestmark = pytest.mark.usefixtures("records_folder")

ENGLISH = Wanted("personal", frozenset({"en"}))


def checked(voice: Voice, wanted: Wanted = ENGLISH) -> consent.Content | None:
    with store.reading() as session:
        return consent.check(session, consent.voice_id(voice), wanted)


def alter(folder: Path, statement: str, *values: object) -> None:
    store.forget()
    with sqlite3.connect(folder / "records.sqlite") as database:
        database.execute(statement, values)


def test_a_record_holds_what_was_agreed(voice: Voice, recording: Path) -> None:
    end = time.time() + 1000
    given = consent.give(voice, "speaker-1", purposes=["research"], languages=["en"],
                         expires=end, recording=recording)  # fmt: skip
    found = checked(voice, Wanted("research", frozenset({"en"})))
    assert found == given and given.audio_hash == consent.file_hash(recording)
    assert "research" in given.agreement and "speaker-1" in given.agreement
    assert checked(Voice("other", torch.ones(256))) is None


@pytest.mark.parametrize(
    "change",
    [
        {"expires": None},
        {"purposes": ["personal", "commercial"]},
        {"voice": "0" * 32},
        {"who": "somebody else"},
    ],
)
def test_an_altered_record_is_forged(voice: Voice, records_folder: Path, change: dict) -> None:
    given = consent.give(voice, "speaker-1", expires=time.time() + 1000)
    content = json.dumps({**json.loads(given.signable()), **change}, sort_keys=True)
    alter(records_folder, "UPDATE consents SET content = ?", content)
    with pytest.raises(Refused) as caught:
        checked(voice)
    assert caught.value.code == "consent-forged"


def test_a_record_moved_to_another_voice_is_replayed(voice: Voice, records_folder: Path) -> None:
    consent.give(voice, "speaker-1")
    other = Voice("other", torch.ones(256))
    alter(records_folder, "UPDATE consents SET voice = ?", consent.voice_id(other))
    with pytest.raises(Refused) as caught:
        checked(other)
    assert caught.value.code == "consent-replayed"


def test_another_owners_signature_is_forged(voice: Voice, records_folder: Path) -> None:
    consent.give(voice, "speaker-1")
    (records_folder / "owner.key").write_bytes(b"n" * 32)
    with pytest.raises(Refused, match="consent-forged"):
        checked(voice)


def test_a_number_counts_once(voice: Voice) -> None:
    asked = reading.prompt("en")
    consent.give(voice, "speaker-1", kind="read-aloud", number=asked.number)
    with pytest.raises(Refused) as caught:
        consent.give(voice, "speaker-1", kind="read-aloud", number=asked.number)
    assert caught.value.code == "consent-replayed"
    with pytest.raises(Refused, match="consent-replayed"):
        reading.find(asked.number)
    with pytest.raises(Refused, match="consent-replayed"):
        consent.give(voice, "speaker-1", number="000000x")


def test_a_number_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = reading.prompt("zh")
    assert reading.find(asked.number) == asked
    monkeypatch.setattr(reading, "VALID_SECONDS", -1.0)
    with pytest.raises(Refused, match="consent-expired"):
        reading.find(asked.number)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("My number is four eight two, nine one seven.", "482917"),
        ("我的号码是四八二九一七。", "482917"),
        ("my number is 482 917", "482917"),
        ("oh one 2 三", "0123"),
        ("nothing", ""),
    ],
)
def test_numbers_are_heard_as_figures_or_words(text: str, said: str) -> None:
    assert reading.digits(text) == said


def test_reading_checks_text_and_speaker(
    tiny: Bundle, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reading.prompt("en")
    says = lambda wave, language: asked.sentence  # noqa: E731
    checks = reading.check(asked, recording, recording, model=tiny, recogniser=says)
    assert checks["speaker_likeness"] == 1.0 and checks["heard"] == asked.sentence
    assert reading.check(asked, recording, recording, model=tiny)["heard"] == "unchecked"
    with pytest.raises(Refused) as caught:
        reading.check(asked, recording, recording, model=tiny,
                      recogniser=lambda wave, language: "something else")  # fmt: skip
    assert caught.value.code == "consent-text"
    vectors = iter([torch.ones(256), -torch.ones(256)])
    monkeypatch.setattr(Bundle, "speaker_vector", lambda *_: next(vectors))
    with pytest.raises(Refused) as caught:
        reading.check(asked, recording, recording, model=tiny, recogniser=says)
    assert caught.value.code == "consent-speaker"


def test_wrong_scopes_are_named(voice: Voice) -> None:
    for wrong in ({"purposes": ["fun"]}, {"languages": ["fr"]}, {"languages": []},
                  {"expires": 1.0}, {"kind": "guessed"}):  # fmt: skip
        with pytest.raises(ValueError):
            consent.give(voice, "speaker-1", **wrong)
    with pytest.raises(ValueError, match="who"):
        consent.give(voice, "  ")
    with pytest.raises(ValueError, match="no consent"):
        consent.revoke("c-none")


def test_the_agreement_in_both_languages() -> None:
    end = 1_900_000_000.0
    english = written("en", "s-1", ["personal", "research"], ["zh"], end)
    chinese = written("zh", "s-1", ["commercial"], ["en", "zh"], None)
    assert "personal use, research" in english and "2030-03-17" in english
    assert "Mandarin" in english and "take my agreement back" in english
    assert "商业用途" in chinese and "撤回" in chinese and "英语、普通话" in chinese
    with pytest.raises(ValueError, match="en and zh"):
        written("fr", "s-1", ["personal"], ["en"], None)


def test_a_voice_is_its_vector(voice: Voice, tmp_path: Path) -> None:
    from dataclasses import replace

    voice.save(tmp_path / "v.safetensors")
    again = Voice.load(tmp_path / "v.safetensors")
    assert consent.voice_id(again) == consent.voice_id(replace(voice, name="x"))
    other = replace(voice, speaker=voice.speaker.roll(1))
    assert consent.voice_id(other) != consent.voice_id(voice)


def test_voice_make_with_consent(
    tiny: Bundle, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from voxray.commands import main

    monkeypatch.setattr(Bundle, "builtin", staticmethod(lambda: tiny))
    monkeypatch.setattr(reading, "recogniser", lambda: None)
    monkeypatch.delenv("VOXRAY_HOME", raising=False)
    assert main(["trust", "prompt"]) == 0
    number = capsys.readouterr().out.split()[-1]
    target = tmp_path / "me.safetensors"
    again = ["voice", "make", "me", str(recording), "-o", str(target)]
    arguments = [*again, "--consent", str(recording), "--number", number]
    assert main(arguments) == 0
    assert "speaker checked" in capsys.readouterr().out
    found = checked(Voice.load(target))
    assert found is not None and found.kind == "read-aloud" and found.number == number
    assert number not in found.read and found.audio_hash == consent.file_hash(recording)
    target.unlink()
    assert main(arguments) == 2 and not target.exists()
    assert "consent-replayed" in capsys.readouterr().err
    assert main([*again, "--consent", str(recording)]) == 2


def test_silence_is_no_reading(tiny: Bundle, recording: Path, tmp_path: Path) -> None:
    asked = reading.prompt("en")
    audio.write_audio(tmp_path / "quiet.wav", np.zeros(32_000, np.float32), 16_000)
    with pytest.raises(ValueError, match="silent"):
        reading.check(asked, tmp_path / "quiet.wav", recording, model=tiny)
