"""Recordings by address: off by default; a listed place alone is asked, and nothing behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from serving import Open, code, key

from voxray.commands import main
from voxray.serve import fetching
from voxray.serve.errors import Problem

VOICES = "/v1/audio/voices"
MOST = 1 << 20


class Shelf:
    """A server on loopback: what it was asked for, and what it answers by path."""

    def __init__(self, recording: bytes) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shelf.asked.append((self.path, dict(self.headers)))
                if self.path == "/moved.wav":
                    self.send_response(302)
                    self.send_header("Location", "/voice.wav")
                    self.end_headers()
                    return
                self.send_response(404 if self.path == "/none" else 200)
                if self.path == "/packed":
                    self.send_header("Content-Encoding", "gzip")
                self.end_headers()
                self.wfile.write(b"0" * 2 * MOST if self.path == "/endless" else recording)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.origin = f"http://127.0.0.1:{self.port}"


@pytest.fixture
def shelf(recording: Path) -> Iterator[Shelf]:
    made = Shelf(recording.read_bytes())
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(30)


def test_nothing_is_fetched_unless_the_owner_lists_a_place(serve: Open, shelf: Shelf) -> None:
    client, headers = serve(), key("clone")
    asked = {"name": "anna", "audio_url": f"{shelf.origin}/voice.wav"}
    told = client.post(VOICES, data=asked, headers=headers)
    assert (told.status_code, code(told)) == (403, "url-denied") and shelf.asked == []


def test_a_recording_of_a_listed_place_becomes_a_voice(serve: Open, shelf: Shelf) -> None:
    client, headers = serve(fetch=(shelf.origin,)), key("clone")
    asked = {"name": "anna", "audio_url": f"{shelf.origin}/voice.wav?a=1"}
    assert code(client.post(VOICES, data=asked, headers=key())) == "key-scope"
    assert shelf.asked == [], "who may not make voices has nothing fetched"
    told = client.post(VOICES, data=asked, headers=headers)
    assert told.status_code == 201, told.text
    assert told.json()["consent"] == "missing", "an address is no consent"
    ((path, sent),) = shelf.asked
    assert path == "/voice.wav?a=1" and not {"Authorization", "Cookie"} & {*sent}
    both = client.post(
        VOICES, data={**asked, "name": "b"}, files={"audio_sample": b"x"}, headers=headers
    )
    assert code(both) == code(client.post(VOICES, data={"name": "b"}, headers=headers)) == "invalid"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:{other}/voice.wav", "url-denied"),
        ("http://127.1:{port}/voice.wav", "url-denied"),
        ("http://2130706433:{port}/voice.wav", "url-denied"),
        ("http://[::1]:{port}/voice.wav", "url-denied"),
        ("https://127.0.0.1:{port}/voice.wav", "url-denied"),
        ("http://127.0.0.1:{port}@169.254.169.254/x", "url-denied"),
        ("http://user@127.0.0.1:{port}/x", "url-denied"),
        ("http://127.0.0.1:{port}\\@evil.example/x", "url-denied"),
        ("file:///etc/passwd", "url-denied"),
        ("gopher://127.0.0.1:{port}/x", "url-denied"),
        ("/etc/passwd", "url-denied"),
        ("http://127.0.0.1:{port}/x y", "url-denied"),
        ("http://127.0.0.1:{port}/x\r\nX-A: b", "url-denied"),
        ("http://127.0.0.1:99999/x", "url-denied"),
        ("http://127.0.0.1:{port}/moved.wav", "url-unreachable"),  # a redirect is no recording
        ("http://127.0.0.1:{port}/none", "url-unreachable"),
        ("http://127.0.0.1:{port}/packed", "url-unreachable"),
        ("http://127.0.0.1:{port}/endless", "body-too-large"),
    ],
)
def test_what_is_not_listed_is_not_asked(shelf: Shelf, address: str, expected: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        written = address.replace("{other}", str(free.getsockname()[1]))
        with pytest.raises(Problem) as told:
            fetching.fetched(written.replace("{port}", str(shelf.port)), (shelf.origin,), MOST)
    assert told.value.code == expected
    assert len(shelf.asked) == (expected != "url-denied"), (
        "one request at most: nothing is followed"
    )


def test_a_listed_name_that_leads_inwards_is_refused(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"http://media.example:{shelf.port}"
    for inside in ("127.0.0.1", "10.0.0.8", "169.254.169.254", "::1"):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (inside, shelf.port))]
        monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, found=found, **__: found)
        with pytest.raises(Problem) as told:
            fetching.fetched(f"{place}/voice.wav", (place,), MOST)
        assert told.value.code == "url-denied" and shelf.asked == []


def test_a_silent_place_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SILENT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Problem) as told:
            fetching.fetched(f"{place}/x", (place,), MOST)
    assert told.value.code == "url-unreachable"


def test_the_owner_lists_places_not_addresses(place: Path) -> None:
    assert main(["serve", "--local", "--fetch", "https://media.example/a.wav"]) == 2
    assert main(["serve", "--local", "--fetch", "media.example"]) == 2
