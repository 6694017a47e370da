"""OpenAI's endpoints: formats, events, names, and what is refused with which code."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import soundfile
from serving import Open, body, code, key

PCM_RATE = 24_000


def decoded(data: bytes) -> tuple[int, int]:
    """Samples and rate."""
    samples, rate = soundfile.read(io.BytesIO(data))
    return len(samples), rate


def test_every_format_holds_the_same_speech(serve: Open) -> None:
    client, headers = serve(), key()
    plain = client.post("/v1/audio/speech", json=body(), headers=headers)
    assert plain.status_code == 200 and plain.headers["content-type"] == "audio/pcm"
    count = len(plain.content) // 2
    assert count > 0.1 * PCM_RATE
    for name in ("wav", "mp3", "flac", "opus"):
        told = client.post("/v1/audio/speech", json=body(response_format=name), headers=headers)
        assert told.status_code == 200, told.text
        if name == "wav":  # an open-ended header: libsndfile reads to the end
            samples = np.frombuffer(told.content[44:], "<i2")
            assert told.content[:4] == b"RIFF" and len(samples) == count
            continue
        found, rate = decoded(told.content)
        assert rate == PCM_RATE and abs(found - count) <= 0.1 * PCM_RATE, name


def test_same_seed_same_speech_but_for_the_mark(serve: Open) -> None:
    client, headers = serve(), key()
    first, second = (
        np.frombuffer(client.post("/v1/audio/speech", json=body(), headers=headers).content, "<i2")
        for _ in range(2)
    )
    assert len(first) == len(second)


def test_events_add_up_to_the_sound(serve: Open) -> None:
    client, headers = serve(), key()
    told = client.post("/v1/audio/speech", json=body(stream_format="sse"), headers=headers)
    assert told.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: ")]
    sound = b"".join(base64.b64decode(e["audio"]) for e in events[:-1])
    assert {e["type"] for e in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done" and events[-1]["usage"]["output_tokens"] > 0
    assert len(sound) == len(client.post("/v1/audio/speech", json=body(), headers=headers).content)


def test_whole_files_have_complete_headers(serve: Open) -> None:
    client = serve()
    told = client.post(
        "/v1/audio/speech", json=body(response_format="wav", whole=True), headers=key()
    )
    samples, _ = decoded(told.content)
    assert int(told.headers["content-length"]) == len(told.content)
    assert samples == int.from_bytes(told.content[40:44], "little") // 2 > 0


def test_models(serve: Open) -> None:
    client, headers = serve(), key()
    assert [m["id"] for m in client.get("/v1/models", headers=headers).json()["data"]] == ["tiny"]
    assert client.get("/v1/models/tts-1", headers=headers).json()["id"] == "tiny"
    assert code(client.get("/v1/models/x", headers=headers)) == "model-unknown"


@pytest.mark.parametrize(
    ("changes", "status", "expected"),
    [
        ({"response_format": "aac"}, 400, "format-unsupported"),
        ({"response_format": "../wav"}, 400, "format-unsupported"),
        ({"voice": "nobody-known"}, 404, "voice-unknown"),
        ({"voice": "../../etc/passwd"}, 404, "voice-unknown"),
        ({"voice": "http://127.0.0.1/x.wav"}, 404, "voice-unknown"),
        ({"voice": "nova\0"}, 404, "voice-unknown"),
        ({"model": "/etc"}, 404, "model-unknown"),
        ({"input": "  "}, 400, "text-empty"),
        ({"input": 7}, 422, "invalid"),
        ({"speed": 9}, 422, "invalid"),
        ({"seed": -1}, 422, "invalid"),
        ({"unknown": 1}, 422, "invalid"),
        ({"instructions": "Sing."}, 400, "unsupported"),
        ({"input": "a" * 20_001}, 413, "text-too-long"),
        ({"input": "b" * (1 << 20)}, 413, "body-too-large"),
        ({"input": "☃"}, 400, "bad-request"),
    ],
)
def test_bad_requests_have_stable_codes(
    serve: Open, changes: dict[str, object], status: int, expected: str
) -> None:
    client, headers = serve(), key()
    told = client.post("/v1/audio/speech", json=body(**changes), headers=headers)
    assert (told.status_code, code(told)) == (status, expected), told.text
    assert client.post("/v1/audio/speech", json=body(), headers=headers).status_code == 200


def test_broken_json_is_a_clear_line(serve: Open) -> None:
    client, headers = serve(), {**key(), "Content-Type": "application/json"}
    assert code(client.post("/v1/audio/speech", content=b"{", headers=headers)) == "invalid"
    assert code(client.post("/v1/audio/speech", content=b"\xff\xfe", headers=headers)) in (
        "invalid",
        "bad-request",
    )
    assert code(client.get("/v1/audio/speech", headers=headers)) == "method-not-allowed"
    assert code(client.get("/nowhere", headers=headers)) == "not-found"
