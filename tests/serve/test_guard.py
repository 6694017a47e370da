"""Hostile requests: foreign hosts and pages, compressed and endless bodies, silent senders."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from serving import Open, body, code, key

from voxray.serve import Settings
from voxray.serve.app import create_app

SPEECH = "/v1/audio/speech"


def test_foreign_hosts_and_pages_are_turned_away(serve: Open) -> None:
    client, headers = serve(), key()
    told = client.post(SPEECH, json=body(), headers={**headers, "Host": "evil.example"})
    assert (told.status_code, code(told)) == (421, "host-denied")
    told = client.post(SPEECH, json=body(), headers={**headers, "Origin": "https://evil.example"})
    assert (told.status_code, code(told)) == (403, "origin-denied")
    assert "access-control-allow-origin" not in told.headers
    told = client.options(
        SPEECH, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    )
    assert told.status_code >= 400 and "access-control-allow-origin" not in told.headers


def test_only_listed_origins_are_answered(serve: Open) -> None:
    client = serve(origins=("https://good.example",))
    asked = {"Access-Control-Request-Method": "POST"}
    told = client.options(SPEECH, headers={**asked, "Origin": "https://good.example"})
    assert told.headers["access-control-allow-origin"] == "https://good.example"
    told = client.options(SPEECH, headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in told.headers


def test_every_answer_is_closed_to_browsers(serve: Open) -> None:
    client = serve()
    for path in ("/health", "/nowhere", "/", "/openapi.json"):
        told = client.get(path)
        assert "default-src 'none'" in told.headers["content-security-policy"], path
        assert told.headers["x-content-type-options"] == "nosniff"
    page = client.get("/").text
    assert "<script" not in page and "/v1/audio/speech" in page


def test_compressed_bodies_are_not_unpacked(serve: Open) -> None:
    client, headers = serve(), key()
    told = client.post(SPEECH, content=b"\x1f\x8b", headers={**headers, "Content-Encoding": "gzip"})
    assert (told.status_code, code(told)) == (415, "encoding-unsupported")


def test_an_endless_body_is_cut_off(serve: Open) -> None:
    client, headers = serve(most_json=10_000), key()

    def endless() -> Any:
        for _ in range(1000):
            yield b" " * 1000

    told = client.post(
        SPEECH, content=endless(), headers={**headers, "Content-Type": "application/json"}
    )
    assert (told.status_code, code(told)) == (413, "body-too-large")


def test_a_silent_sender_is_cut_off(tiny: Any, place: Any) -> None:
    app = create_app(Settings(hosts=("x",), body_timeout=0.05), {"tiny": tiny})
    headers = [(b"host", b"x"), (b"content-type", b"application/json")]
    headers += [(name.lower().encode(), value.encode()) for name, value in key().items()]
    scope = {
        "type": "http", "method": "POST", "path": SPEECH, "raw_path": b"", "query_string": b"",
        "headers": headers, "client": ("192.0.2.1", 1), "server": ("x", 80), "scheme": "http",
        "http_version": "1.1", "asgi": {"version": "3.0"}, "root_path": "",
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    app.state.service.scheduler.stop()
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "body-timeout"


def test_what_fails_unforeseen_tells_nothing(serve: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    client, headers = serve(), key()
    monkeypatch.setattr("voxray.serve.speech.open_stream", _fails)
    told = client.post(SPEECH, json=body(), headers=headers)
    assert (told.status_code, code(told)) == (500, "internal")
    assert "secret" not in told.text
    monkeypatch.undo()
    assert client.post(SPEECH, json=body(), headers=headers).status_code == 200


def _fails(*_: Any) -> None:
    raise KeyError("secret")


def test_health_readiness_and_figures(serve: Open) -> None:
    client, headers = serve(), key()
    assert client.get("/health").json() == {"status": "ok"}
    ready = client.get("/ready")
    assert ready.status_code == 200 and ready.json()["checks"] == {"records": "ok", "models": "ok"}
    assert code(client.get("/metrics")) == "key-missing"
    assert code(client.get("/metrics", headers=headers)) == "key-scope"
    client.post(SPEECH, json=body(), headers=headers)
    text = client.get("/metrics", headers=key("manage")).text
    assert 'voxray_requests_total{route="/v1/audio/speech",status="200"} 1.0' in text
    assert "voxray_first_audio_seconds_count 1.0" in text and "voxray_waiting 0.0" in text
    assert serve(open_metrics=True).get("/metrics").status_code == 200
