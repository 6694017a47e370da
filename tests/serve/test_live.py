"""WebSocket: text in bits, speech sentence by sentence; refusals close the socket with a code."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import Open, key
from starlette.websockets import WebSocketDisconnect

LIVE = "/v1/audio/speech/live"


def read(socket: Any) -> tuple[list[dict[str, Any]], bytes]:
    """Messages up to the last, and the sound between them."""
    told, sound = [], b""
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            return told, sound
        if message.get("bytes"):
            sound += message["bytes"]
        else:
            import json

            told.append(json.loads(message["text"]))
            if told[-1]["type"] in ("done", "error"):
                return told, sound


def test_text_in_bits_is_said_by_sentences(serve: Open) -> None:
    with serve().websocket_connect(LIVE, headers=key()) as socket:
        socket.send_json({"type": "start", "voice": "nova", "seed": 1})
        for bit in ("Hel", "lo there. Good", " bye"):
            socket.send_json({"type": "text", "text": bit})
        socket.send_json({"type": "end"})
        told, sound = read(socket)
    assert [m["type"] for m in told] == ["started", "said", "said", "done"]
    assert [m["text"] for m in told if m["type"] == "said"] == ["Hello there.", "Good bye"]
    seconds = sum(m["seconds"] for m in told if m["type"] == "said")
    assert abs(len(sound) / 2 / told[0]["sample_rate"] - seconds) < 0.01
    assert all(m["record"].startswith("r-") for m in told if m["type"] == "said")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (['{"type": "text"}'], "invalid"),
        (["no json"], "invalid"),
        (["[1]"], "invalid"),
        (['{"type": "start", "format": "exe"}'], "invalid"),
        (['{"type": "start"}', '{"type": "shout"}'], "invalid"),
        (
            ['{"type": "start", "voice": "no-one"}', '{"type": "text", "text": "Hi.\\n"}'],
            "voice-unknown",
        ),
        (['{"type": "start"}', '{"type": "text", "text": "' + "a" * 6000 + '"}'], "text-too-long"),
    ],
)
def test_faults_are_told_and_end_it(serve: Open, messages: list[str], expected: str) -> None:
    with serve().websocket_connect(LIVE, headers=key()) as socket:
        for message in messages:
            socket.send_text(message)
        told, _ = read(socket)
    assert told[-1]["error"]["code"] == expected


def test_no_key_and_foreign_pages(serve: Open) -> None:
    client: TestClient = serve()
    with client.websocket_connect(LIVE) as socket:
        assert read(socket)[0][-1]["error"]["code"] == "key-missing"
    foreign = {**key(), "Origin": "https://evil.example"}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LIVE, headers=foreign):
        pass


def test_who_leaves_frees_the_models(serve: Open) -> None:
    client = serve()
    with client.websocket_connect(LIVE, headers=key()) as socket:
        socket.send_json({"type": "start", "voice": "nova", "seed": 1})
        socket.send_json({"type": "text", "text": "Hello there, my friend. " * 20})
        socket.receive()
    service = client.app.state.service  # type: ignore[attr-defined]
    with service.scheduler._change:
        assert service.scheduler._change.wait_for(lambda: not service.scheduler._tasks, 10)
