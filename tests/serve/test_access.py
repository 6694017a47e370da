"""Keys, scopes and quotas at the door; guesses are limited; nothing secret reaches the log."""

from __future__ import annotations

import io
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from serving import Open, body, code, key

from voxray.commands import main
from voxray.serve import logs
from voxray.serve.limits import PerMinute
from voxray.serve.sockets import Sockets
from voxray.trust import access, audit, records

SPEECH = "/v1/audio/speech"


def test_who_has_no_key_hears_nothing(serve: Open) -> None:
    client = serve()
    assert code(client.post(SPEECH, json=body())) == "key-missing"
    told = client.post(SPEECH, json=body(), headers={"X-API-Key": "vxr_00000000_x"})
    assert told.status_code == 401 and told.headers["www-authenticate"] == "Bearer"
    assert code(told) == "key-unknown" and records.latest() == []


def test_revoked_keys_and_missing_scopes(serve: Open) -> None:
    client, headers = serve(), key("verify")
    assert code(client.post(SPEECH, json=body(), headers=headers)) == "key-scope"
    text, who = access.make_key("gone")
    access.revoke_key(who.id)
    told = client.post(SPEECH, json=body(), headers={"Authorization": f"Bearer {text}"})
    assert (told.status_code, code(told)) == (401, "key-revoked")


def test_quotas_say_when_to_come_back(serve: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(access, "time", SimpleNamespace(time=lambda: now))  # no minute ends here
    client, headers = serve(), key("speak", per_minute=1)
    assert client.post(SPEECH, json=body(), headers=headers).status_code == 200
    told = client.post(SPEECH, json=body(), headers=headers)
    assert (told.status_code, code(told)) == (429, "quota-rate")
    assert int(told.headers["retry-after"]) > 0
    few = key("speak", per_day=3)
    assert code(client.post(SPEECH, json=body(), headers=few)) == "quota-characters"


def test_guessing_is_limited(serve: Open) -> None:
    client, good = serve(guesses_per_minute=3), key()
    client.app.state.service.guesses._clock = lambda: 0.0  # type: ignore[attr-defined]
    for number in range(3):
        wrong = {"Authorization": f"Bearer vxr_0000000{number}_guess"}
        assert code(client.get("/v1/models", headers=wrong)) == "key-unknown"
    told = client.get("/v1/models", headers=good)
    assert (told.status_code, code(told)) == (429, "key-guessing")
    assert int(told.headers["retry-after"]) > 0


def test_a_sliding_minute_forgets() -> None:
    now = [0.0]
    limit = PerMinute(2, clock=lambda: now[0])
    for _ in range(2):
        assert limit.wait("a") == 0
        limit.count("a")
    assert limit.wait("a") > 0 and limit.wait("b") == 0
    now[0] = 61.0
    assert limit.wait("a") == 0


def test_local_callers_need_no_key_where_the_owner_says_so(serve: Open) -> None:
    client = serve(keys="local")
    assert (
        code(client.get("/v1/models")) == "key-missing"
    )  # the test client has no loopback address
    near = client.app.state.service  # type: ignore[attr-defined]
    from starlette.requests import HTTPConnection

    from voxray.serve.auth import _is_local

    def asks(address: str, *headers: tuple[bytes, bytes]) -> bool:
        scope = {"type": "http", "headers": list(headers), "client": (address, 1)}
        return _is_local(near, HTTPConnection(scope))

    assert asks("127.0.0.1") and asks("::1") and not asks("192.0.2.1")
    assert not asks("127.0.0.1", (b"x-forwarded-for", b"192.0.2.1"))


def test_keys_are_made_and_ended_over_http(serve: Open) -> None:
    client, owner = serve(), key("manage", role="owner")
    made = client.post("/v1/keys", json={"name": "shop", "scopes": ["speak"]}, headers=owner).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert client.get("/v1/me", headers=headers).json()["scopes"] == ["speak"]
    assert code(client.get("/v1/keys", headers=headers)) == "key-scope"
    shown = client.get("/v1/keys", headers=owner)
    assert made["id"] in {item["id"] for item in shown.json()["data"]}
    assert made["key"] not in shown.text
    assert code(client.delete("/v1/keys/nobody", headers=owner)) == "not-found"
    assert client.delete(f"/v1/keys/{made['id']}", headers=owner).status_code == 204
    assert code(client.get("/v1/me", headers=headers)) == "key-revoked"
    weak = key("manage", role="caller")
    assert code(client.get("/v1/keys", headers=weak)) == "role-denied"
    operator = key("manage", role="operator")
    told = client.post("/v1/keys", json={"name": "x", "role": "owner"}, headers=operator)
    assert code(told) == "role-denied"
    assert audit.verify().faults == ()


def test_the_log_holds_no_secrets_and_no_texts(serve: Open) -> None:
    sink = io.StringIO()
    logger = logging.getLogger("voxray.serve")
    before = (logger.handlers, logger.propagate, logger.level)
    logs.to_stream(sink)
    try:
        client, headers = serve(), key()
        client.post(SPEECH, json=body(input="A private sentence."), headers=headers)
        client.get(f"/v1/models?key={headers['Authorization'][7:]}", headers=headers)
        logger.error("key %s", headers["Authorization"])
    finally:
        logger.handlers, logger.propagate, logger.level = before
    secret = headers["Authorization"].rpartition("_")[2]
    assert '"route": "/v1/audio/speech"' in sink.getvalue() and '"status": 200' in sink.getvalue()
    assert secret not in sink.getvalue() and "private" not in sink.getvalue()


@pytest.mark.parametrize(
    "text", ["vxr_00c0ffee_abc-DEF_1", "Bearer vxr_00c0ffee_abc", "bearer  x.y"]
)
def test_secrets_are_blotted(text: str) -> None:
    assert "abc" not in logs.blotted(f"a {text} b") and "x.y" not in logs.blotted(text)


@pytest.mark.parametrize("local", [True, False])
def test_the_command_starts_the_service(
    place: Path, local: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started: list[tuple[FastAPI, dict[str, Any]]] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **how: started.append((app, how)))
    assert main(["serve", "--port", "9999", *(["--local"] if local else [])]) == 0
    ((app, how),) = started
    assert (how["host"], how["port"], how["http"]) == ("127.0.0.1", 9999, Sockets)
    assert app.state.service.settings.keys == ("local" if local else "required")
    assert (
        "voxray trust key" in capfd.readouterr().err
    ) is not local  # nobody could ask for anything
    app.state.service.scheduler.stop(1.0)
