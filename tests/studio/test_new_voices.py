"""A new voice comes in with its speaker's consent, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from voxray.serve.errors import Problem
from voxray.studio import voices
from voxray.studio.actions import Asked, Studio, finished, speak
from voxray.studio.voices import NewVoice, make_voice, prompt, written
from voxray.trust import Refused, audit, consent, reading
from voxray.voice import Voice


@pytest.fixture
def new(recording: Path) -> NewVoice:
    return NewVoice("anna", "p-1", recording, kind="attested", agreed=True)


def say(studio: Studio, name: str, text: str = "Hello.") -> str:
    return finished(speak(studio, Asked(text, name, seed=1))).synthesis.record


def test_agreed_in_writing(studio: Studio, new: NewVoice) -> None:
    given = make_voice(studio, new)
    assert given.kind == "attested" and given.who == "p-1" and "p-1" in given.agreement
    assert studio.cast.own() == ["anna"] and studio.cast.state("anna") == "given"
    assert say(studio, "anna").startswith("r-")
    assert audit.verify().faults == ()


def test_read_aloud(studio: Studio, new: NewVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "recogniser", lambda: None)
    asked = prompt("en")
    aloud = replace(new, kind="read-aloud", read=new.sample, number=asked.number)
    given = make_voice(studio, aloud)
    assert given.number == asked.number and given.read == asked.sentence
    with pytest.raises(Refused) as told:  # the number counts once
        make_voice(studio, replace(aloud, name="eve"))
    assert told.value.code == "consent-replayed"
    assert studio.cast.own() == ["anna"]


def test_the_recogniser_is_asked(
    studio: Studio, new: NewVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "recogniser", lambda: lambda wave, language: "something else")
    aloud = replace(new, kind="read-aloud", read=new.sample, number=prompt("en").number)
    with pytest.raises(ValueError) as told:
        make_voice(studio, aloud)
    assert getattr(told.value, "code", "") == "consent-text"
    assert studio.cast.own() == []


@pytest.mark.parametrize(
    "change",
    [
        {"agreed": False},
        {"who": " "},
        {"purposes": ()},
        {"kind": "read-aloud", "read": None, "number": "123456"},
        {"kind": "read-aloud", "number": ""},
    ],
)
def test_without_consent_there_is_no_voice(
    studio: Studio, new: NewVoice, change: dict[str, object]
) -> None:
    with pytest.raises(Refused) as told:
        make_voice(studio, replace(new, **change))  # type: ignore[arg-type]
    assert told.value.code == "consent-missing"
    assert studio.cast.own() == [] and not list(studio.settings.home.rglob("*.safetensors"))


def test_a_voice_without_record_does_not_speak_whatever_the_policy(
    studio: Studio, voice: Voice
) -> None:
    studio.settings.voices.mkdir(parents=True)
    voice.save(studio.settings.voices / "nobody.safetensors")
    assert studio.cast.state("nobody") == "missing"
    with pytest.raises(Refused) as told:
        say(studio, "nobody")
    assert told.value.code == "consent-missing"


def test_purposes_count(studio: Studio, new: NewVoice) -> None:
    make_voice(studio, replace(new, purposes=("research",)))
    with pytest.raises(Refused) as told:  # the owner's policy says: personal
        say(studio, "anna")
    assert told.value.code == "consent-scope"


def test_withdrawn_is_silent_at_once(studio: Studio, new: NewVoice) -> None:
    make_voice(studio, new)
    steps = speak(studio, Asked("Hello there. And again. And again.", "anna", seed=1))
    next(steps)
    assert studio.cast.withdraw("anna") == 1
    with pytest.raises(Refused):
        finished(steps)
    with pytest.raises(Refused) as told:
        say(studio, "anna")
    assert told.value.code == "consent-revoked"
    assert not studio.models.locked()


def test_deleting(studio: Studio, new: NewVoice) -> None:
    make_voice(studio, new)
    studio.cast.delete("anna")
    assert studio.cast.own() == []
    assert all(revoked is not None for _, revoked in consent.listed())
    for name in ("nova", "tuned:anna", "anna", "../anna"):
        with pytest.raises(Problem):
            studio.cast.delete(name)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "nova", "a b", "x" * 65])
def test_names_that_are_none(studio: Studio, new: NewVoice, name: str) -> None:
    with pytest.raises(Problem):
        make_voice(studio, replace(new, name=name))


def test_a_recording_that_is_none(studio: Studio, new: NewVoice, tmp_path: Path) -> None:
    bad = tmp_path / "x.wav"
    bad.write_bytes(b"no sound")
    with pytest.raises(Problem) as told:
        make_voice(studio, replace(new, sample=bad))
    assert told.value.code == "audio-unreadable"
    with pytest.raises(Problem):
        make_voice(studio, replace(new, sample=None))


def test_the_agreement_is_shown_before_a_name_is_typed() -> None:
    for language in ("en", "zh"):
        assert "…" in written(language, "", ["personal"])


def test_tuned_voices_bring_their_model(studio: Studio, voice: Voice) -> None:
    folder = studio.settings.models / "anna"
    folder.mkdir(parents=True)
    voice.save(folder / voices.VOICE_FILE)
    assert studio.cast.names()["tuned:anna"] == "tuned"
    found, model = studio.cast.find("tuned:anna")
    assert found.name == "anna" and model == folder
