"""Fetching from a server that behaves like the hub: redirects, ranges, broken-off transfers, lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from voxray import hub
from voxray.commands import main
from voxray.hub import Pinned, pull

BODY = np.random.default_rng(0).bytes(900_000)
CONFIG = b'{"a": 1}'


class Hub(BaseHTTPRequestHandler):
    """`/REPOSITORY/resolve/REVISION/FILE` redirects to `/cdn/FILE`, which knows ranges."""

    bodies: dict[str, bytes] = {}
    break_at: list[int] = []  # bytes after which the next transfers are broken off
    ranges = True
    failing = 0  # answers of 503 to come
    seen: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        Hub.seen.append((self.path, asked))
        start = f"/{hub.REPOSITORY}/resolve/{hub.REVISION}/"
        if self.path.startswith(start):
            self.send_response(302)
            self.send_header("Location", "/cdn/" + self.path[len(start) :])
            self.end_headers()
            return
        body = Hub.bodies.get(self.path.removeprefix("/cdn/"))
        if body is None or Hub.failing:
            Hub.failing = max(0, Hub.failing - 1)
            self.send_error(404 if body is None else 503)
            return
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and Hub.ranges else 0
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        end = first + Hub.break_at.pop(0) if Hub.break_at else len(body)
        self.wfile.write(body[first:end])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def pinned(name: str, body: bytes) -> Pinned:
    return Pinned(name, len(body), hashlib.sha256(body).hexdigest())


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    sets = {"hubert": (pinned("h/model.bin", BODY), pinned("h/config.json", CONFIG))}
    monkeypatch.setattr(hub, "SETS", sets)
    monkeypatch.setattr(hub, "GROUPS", {"encoders": ("hubert",)})
    Hub.bodies = {"h/model.bin": BODY, "h/config.json": CONFIG}
    Hub.break_at, Hub.ranges, Hub.failing, Hub.seen = [], True, 0, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_files_come_with_their_progress(endpoint: str, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    paths = pull(["encoders"], tmp_path, endpoint=endpoint, progress=lambda *x: told.append(x))
    assert [path.read_bytes() for path in paths] == [BODY, CONFIG]
    done = [count for name, count, _ in told if name == "h/model.bin"]
    assert done == sorted(done) and done[-1] == len(BODY) and len(done) > 2
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_there_is_not_fetched_again(endpoint: str, tmp_path: Path) -> None:
    pull(["hubert"], tmp_path, endpoint=endpoint)
    Hub.seen.clear()
    pull(["hubert"], tmp_path, endpoint=endpoint)
    assert not Hub.seen
    (tmp_path / "h" / "config.json").write_bytes(b'{"a": 2}')  # as long, but another
    pull(["hubert"], tmp_path, endpoint=endpoint)
    assert (tmp_path / "h" / "config.json").read_bytes() == CONFIG


def test_a_broken_transfer_goes_on_where_it_stopped(endpoint: str, tmp_path: Path) -> None:
    Hub.break_at = [300_000, 200_000]
    pull(["hubert"], tmp_path, endpoint=endpoint, wait=0)
    assert (tmp_path / "h" / "model.bin").read_bytes() == BODY
    asked = [wish for path, wish in Hub.seen if path == "/cdn/h/model.bin"]
    assert asked == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_run_goes_on(endpoint: str, tmp_path: Path) -> None:
    Hub.break_at = [400_000] + [0] * hub.TRIES
    with pytest.raises(OSError, match="0.4 MB of 0.9 MB are here"):
        pull(["hubert"], tmp_path, endpoint=endpoint, wait=0)
    assert not (tmp_path / "h" / "model.bin").exists()
    Hub.seen.clear()
    pull(["hubert"], tmp_path, endpoint=endpoint, wait=0)
    assert (tmp_path / "h" / "model.bin").read_bytes() == BODY
    assert ("/cdn/h/model.bin", "bytes=400000-") in Hub.seen


def test_a_server_without_ranges_starts_again(endpoint: str, tmp_path: Path) -> None:
    Hub.break_at, Hub.ranges = [300_000], False
    pull(["hubert"], tmp_path, endpoint=endpoint, wait=0)
    assert (tmp_path / "h" / "model.bin").read_bytes() == BODY


def test_a_busy_server_is_asked_again(endpoint: str, tmp_path: Path) -> None:
    Hub.failing = 2
    pull(["hubert"], tmp_path, endpoint=endpoint, wait=0)
    assert (tmp_path / "h" / "model.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BODY[:-1] + b"x", "is not the file that is wanted"),
        (BODY + b"more", "sends more than"),
    ],
)
def test_another_file_is_thrown_away(endpoint: str, tmp_path: Path, body: bytes, said: str) -> None:
    Hub.bodies["h/model.bin"] = body
    with pytest.raises(ValueError, match=said):
        pull(["hubert"], tmp_path, endpoint=endpoint)
    assert not (tmp_path / "h" / "model.bin").exists()
    Hub.bodies["h/model.bin"] = BODY
    pull(["hubert"], tmp_path, endpoint=endpoint)
    assert (tmp_path / "h" / "model.bin").read_bytes() == BODY


def test_what_goes_wrong_is_one_line(
    endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del Hub.bodies["h/model.bin"]
    for arguments, said in (
        (["nothing"], "choose among encoders, hubert"),
        (["hubert", "--endpoint", "file:///etc"], "is no http(s) address"),
        (["hubert", "--endpoint", endpoint], "the server says 404"),
    ):
        assert main(["pull", *arguments, "--folder", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_the_command_names_what_it_fetched(
    endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("VOXRAY_PRETRAINED", str(tmp_path))
    assert main(["pull", "encoders"]) == 0
    assert str(tmp_path / "h" / "model.bin") in capsys.readouterr().out


def test_too_little_room(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = hub.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="has only 0 MB free"):
        pull(["hubert"], tmp_path, endpoint=endpoint)


def test_every_pin_is_a_hash_and_has_a_place_of_its_own() -> None:
    files = [file for files in hub.SETS.values() for file in files]
    assert all(len(f.sha256) == 64 and int(f.sha256, 16) >= 0 and f.size > 0 for f in files)
    places = {f.path: f.target for f in files}
    assert len(set(places.values())) == len(places)
    assert not any(place.is_absolute() or ".." in place.parts for place in places.values())
