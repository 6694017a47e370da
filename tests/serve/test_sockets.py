"""Real sockets: half-open ones, drips, readers that do not read, noise; the next request is unharmed."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from voxray.serve.sockets import Sockets

HEAD = b"GET /little HTTP/1.1\r\nHost: 127.0.0.1\r\n"
PATIENCE = 120.0  # seconds, on a machine however busy


class Hasty(Sockets):
    """The same with less patience."""

    head_seconds = 0.5
    reader_seconds = 0.5


@dataclass
class Place:
    """A server, and what its application noticed."""

    port: int = 0
    left: threading.Event = field(default_factory=threading.Event)

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        made.settimeout(PATIENCE)
        return made

    def answers(self) -> bool:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/little", timeout=PATIENCE
        ) as told:
            return told.read() == b"little"

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """`/much` never ends; anything else says `little`."""
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] != "/much":
            await send({"type": "http.response.body", "body": b"little"})
            return
        await receive()
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    config = uvicorn.Config(
        made.application, port=0, http=Hasty, log_config=None, lifespan="off", interface="asgi3",
        h11_max_incomplete_event_size=32_768, limit_concurrency=4,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    made.port = server.servers[0].sockets[0].getsockname()[1]
    yield made
    server.should_exit = True
    thread.join(30)


def closed(connection: socket.socket) -> bool:
    """Whether the other side ends it without a word."""
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


def test_half_open_connections_make_room(place: Place) -> None:
    """Four of them fill this server: without an end, nobody else would ever be answered."""
    stale = [place.connect() for _ in range(4)]
    for connection, said in zip(stale, (b"", b"G", HEAD, HEAD + b"X-A: b\r\n"), strict=True):
        connection.sendall(said)
    assert all(closed(connection) for connection in stale)
    assert place.answers()


def test_a_head_that_drips_in_is_not_waited_for(place: Place) -> None:
    with place.connect() as connection, pytest.raises(ConnectionError):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:  # each letter comes in time, the head never
            connection.sendall(b"G")
            time.sleep(0.1)
    assert place.answers()


def test_a_second_request_is_waited_for_no_longer(place: Place) -> None:
    with place.connect() as connection:
        connection.sendall(HEAD + b"\r\n")
        told = b""
        while b"little" not in told:
            told += connection.recv(1000)
        connection.sendall(HEAD)
        while not closed(connection):
            pass
    assert place.answers()


def test_who_reads_nothing_is_cut_off(place: Place) -> None:
    with place.connect() as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert place.left.wait(PATIENCE), "the application is told that nobody is there"
    assert place.answers()


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50) + b"\r\n\r\n",  # TLS
        HEAD + b"X-Bomb: " + b"a" * 40_000,
        HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(5000)),
        b"GET / HTTP/9.9\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\nx",
    ],
    ids=["tls", "header-bomb", "many-headers", "version", "two-lengths", "smuggling"],
)
def test_noise_is_told_what_it_is(place: Place, noise: bytes) -> None:
    with place.connect() as connection:
        told = b""
        try:
            connection.sendall(noise)
            while part := connection.recv(10_000):
                told += part
        except ConnectionError:
            pass  # closed while we were still shouting
    if told:
        head, _, body = told.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        assert 200 <= status < 500, told
        if status >= 400:
            assert json.loads(body)["error"]["code"] == "bad-request"
    assert place.answers()
