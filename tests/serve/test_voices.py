"""Voices over HTTP: made, kept apart by key, silent without consent; hostile uploads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from serving import Open, body, code, key

from voxray.trust import audit, reading

SPEECH, VOICES = "/v1/audio/speech", "/v1/audio/voices"


def make(
    client: TestClient, headers: dict[str, str], recording: bytes, name: str = "anna", **more: str
):
    files = {"audio_sample": ("../../x.wav", recording)}
    return client.post(VOICES, data={"name": name, **more}, files=files, headers=headers)


def names(client: TestClient, headers: dict[str, str]) -> list[str]:
    return [voice["id"] for voice in client.get(VOICES, headers=headers).json()["data"]]


def test_a_voice_belongs_to_its_key_and_needs_consent(serve: Open, recording: Path) -> None:
    client, hers, his = serve(), key("speak", "clone"), key("speak", "clone")
    made = make(client, hers, recording.read_bytes())
    assert made.status_code == 201, made.text
    assert made.json()["kind"] == "own" and made.json()["consent"] == "missing"
    assert str(recording.parent) not in made.text
    assert "anna" in names(client, hers) and "anna" not in names(client, his)
    assert code(client.post(SPEECH, json=body(voice="anna"), headers=his)) == "voice-unknown"
    assert code(client.get(f"{VOICES}/anna", headers=his)) == "voice-unknown"
    assert code(client.delete(f"{VOICES}/anna", headers=his)) == "voice-unknown"
    told = client.post(SPEECH, json=body(voice="anna"), headers=hers)
    assert (told.status_code, code(told)) == (403, "consent-missing")
    assert code(make(client, hers, recording.read_bytes())) == "voice-exists"
    assert code(make(client, hers, recording.read_bytes(), "nova")) == "voice-exists"
    assert client.delete(f"{VOICES}/anna", headers=hers).status_code == 204
    assert "anna" not in names(client, hers)
    assert audit.verify().faults == ()


def test_an_operators_word_and_its_end(serve: Open, recording: Path) -> None:
    client, operator, caller = serve(), key("clone", "voices", role="operator"), key()
    make(client, operator, recording.read_bytes())
    asked = {"voice": "anna", "speaker": "p-1"}
    assert code(client.post("/v1/consents", json=asked, headers=key("voices"))) == "role-denied"
    given = client.post("/v1/consents", json=asked, headers=operator)
    assert given.status_code == 201, given.text
    assert client.post(SPEECH, json=body(voice="anna"), headers=caller).status_code == 200
    listed = client.get("/v1/consents", headers=operator).json()["data"]
    assert [item["id"] for item in listed] == [given.json()["id"]]
    assert client.delete(f"/v1/consents/{given.json()['id']}", headers=operator).status_code == 204
    assert code(client.post(SPEECH, json=body(voice="anna"), headers=caller)) == "consent-revoked"


def test_consent_read_aloud_comes_with_the_recording(
    serve: Open, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "recogniser", lambda: None)
    client, headers = serve(), key("speak", "clone")
    number = client.post("/v1/consents/prompt", json={}, headers=headers).json()["number"]
    files = {"audio_sample": recording.read_bytes(), "consent_recording": recording.read_bytes()}
    data = {"name": "anna", "speaker": "p-1", "consent_number": number}
    made = client.post(VOICES, data=data, files=files, headers=headers)
    assert made.status_code == 201 and made.json()["consent"] == "given", made.text
    assert client.post(SPEECH, json=body(voice="anna"), headers=headers).status_code == 200
    again = client.post(VOICES, data={**data, "name": "eve"}, files=files, headers=headers)
    assert code(again) == "consent-replayed"
    assert "eve" not in names(client, headers)


def test_a_key_for_one_voice_hears_of_no_other(serve: Open) -> None:
    client, headers = serve(), key("speak", voices=["nova"])
    assert names(client, headers) == ["nova"]
    for other in ("george", "nobody-known"):
        assert code(client.post(SPEECH, json=body(voice=other), headers=headers)) == "key-voice"


def test_aliases_stand_for_names(serve: Open) -> None:
    client = serve(aliases={"alloy": "nova"})
    assert client.post(SPEECH, json=body(voice="alloy"), headers=key()).status_code == 200


def wav(samples: np.ndarray, rate: int, kind: str = "FLAC") -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format=kind)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "audio-unreadable"),
        (b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff", "audio-unreadable"),
        (b"<svg onload=alert(1)>", "audio-unreadable"),
        (wav(np.zeros(4_000 * 601, np.int16), 4_000), "body-too-large"),  # a bomb: 601 s in kBs
        (wav(np.zeros((16_000, 9), np.int16), 16_000, "WAV"), "audio-unreadable"),
        (wav(np.zeros(48_000, np.int16), 16_000), "audio-unreadable"),  # silence
    ],
)
def test_hostile_uploads_are_refused(serve: Open, data: bytes, expected: str) -> None:
    client, headers = serve(), key("clone", "verify")
    told = make(client, headers, data)
    assert code(told) in (expected, "bad-request") and told.status_code < 500, told.text
    assert "/tmp" not in told.text and "anna" not in names(client, headers)


def test_names_are_no_paths(serve: Open, recording: Path, place: Path) -> None:
    client, headers = serve(), key("clone")
    for name in ("../evil", "a/b", "", "a" * 65, "x\0y", ".hidden"):
        told = make(client, headers, recording.read_bytes(), name)
        assert told.status_code in (400, 422), name
    assert not list(place.rglob("*evil*"))


def test_conversion_and_verification(serve: Open, recording: Path) -> None:
    client, headers = serve(), key("speak", "convert", "verify")
    files = {"audio": recording.read_bytes()}
    data = {"voice": "nova", "response_format": "wav"}
    made = client.post("/v1/audio/conversions", data=data, files=files, headers=headers)
    assert made.status_code == 200 and made.content[:4] == b"RIFF", made.text
    report = client.post(
        "/v1/verify", files={"audio": recording.read_bytes()}, headers=headers
    ).json()
    assert report["watermark"]["present"] is False and report["records"] == []
    assert report["file"] == "recording"
