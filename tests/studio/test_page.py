"""The page as a whole, without a browser: what is open, what is closed, what the handlers show."""

from __future__ import annotations

import html
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

pytest.importorskip("gradio", reason="needs: pip install 'voxray[studio]'")

from voxray import steer
from voxray.studio import Settings, create_app, figures
from voxray.studio.actions import Asked, Studio, finished, speak
from voxray.studio.app import preferred
from voxray.studio.handlers import Handlers, empty
from voxray.studio.page import build
from voxray.studio.strings import Words
from voxray.studio.takes import Take
from voxray.studio.tuning import Tuner


@pytest.fixture(scope="module")
def client(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One studio for the tests of this file: its pages take a second to build."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), model=tiny_folder, draws=3)
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def last(steps: Iterator[Any]) -> list[Any]:
    *_, end = steps
    return end


def test_the_root_leads_to_the_reader_s_language(client: TestClient) -> None:
    told = client.get("/", follow_redirects=False, headers={"accept-language": "zh-CN,en;q=0.5"})
    assert (told.status_code, told.headers["location"]) == (303, "/zh/")
    assert preferred("de-DE, en;q=0.8") == "en" and preferred("") == "en"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_ask_nobody_else(client: TestClient, language: str) -> None:
    page = client.get(f"/{language}/")
    assert page.status_code == 200
    fetched = re.findall(r'(?:src|href)\s*=\s*"(https?://[^"]+)"', page.text)
    assert not [url for url in fetched if not url.startswith("http://127.0.0.1")]
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert f'lang="{language}"' in page.text and page.text.index("<style>") < 20_000
    config = client.get(f"/{language}/config").json()
    assert config["analytics_enabled"] is False
    assert Words(language)("tab.verify") in page.text or language == "zh"
    assert "fonts.googleapis" not in str(config) + page.text
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "0"


def test_a_studio_begins_without_a_network(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refused(*given: object, **_: object) -> None:
        asked.append(given)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    app = create_app(studio.settings, studio)
    with TestClient(app, base_url="http://127.0.0.1") as made:
        assert made.get("/zh/").status_code == 200
    assert not asked


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/en/gradio_api/file=http://127.0.0.1:1/x", "GET"),
        ("/en/gradio_api/file=/etc/passwd", "GET"),
        ("/en/gradio_api/file=/tmp/../etc/passwd", "GET"),
        ("/en/gradio_api/file=..%2f..%2fetc%2fpasswd", "GET"),
        ("/en/gradio_api/proxy=http://127.0.0.1:1/", "GET"),
        ("/en/gradio_api/run/speak", "POST"),
        ("/en/gradio_api/call/speak", "POST"),
        ("/en/gradio_api/openapi.json", "GET"),
        ("/en/monitoring", "GET"),
        ("/en/gradio_api/runs", "GET"),
        ("/en/gradio_api/component_server", "POST"),
        ("/sound/../../etc/passwd", "GET"),
        ("/sound/" + "0" * 32 + ".wav", "GET"),
        ("/openapi.json", "GET"),
        ("/docs", "GET"),
    ],
)
def test_doors_that_are_closed(client: TestClient, path: str, method: str) -> None:
    assert client.request(method, path, json={} if method == "POST" else None).status_code in (
        403,
        404,
    )


def test_other_names_origins_and_sizes_are_refused(client: TestClient) -> None:
    assert client.get("/en/", headers={"host": "evil.example"}).status_code == 421
    join = "/en/gradio_api/queue/join"
    assert client.post(join, json={}, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/en/", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post(join, content=b"x" * (2 << 20)).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * (1 << 19)

    assert client.post(join, content=pieces()).status_code == 413


def test_no_event_is_an_api(client: TestClient) -> None:
    info = client.get("/en/gradio_api/info").json()
    assert not info["named_endpoints"] and not info["unnamed_endpoints"]


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:9/x.wav", "../../../etc/passwd"])
def test_no_path_is_taken_from_the_client(client: TestClient, path: str) -> None:
    """A forged upload names a path (or a URL) instead of what was sent: nothing is read."""
    config = client.get("/en/config").json()
    drop = next(c for c in config["components"] if c["props"].get("elem_id") == "drop")
    event = next(d for d in config["dependencies"] if d["inputs"] == [drop["id"]])
    file = {"path": path, "url": path, "orig_name": "x.wav", "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file], "fn_index": event["id"], "session_hash": "abc", "event_data": None}
    assert client.post("/en/gradio_api/queue/join", json=body).status_code == 200
    told = client.get("/en/gradio_api/queue/data", params={"session_hash": "abc"}).text
    assert '"success": false' in told.replace('"success":false', '"success": false')
    assert "root:" not in told and "finding" not in told


def test_saying_shows_player_words_and_tokens(calls: Handlers, studio: Studio) -> None:
    outputs = last(calls.speak("Hello there.", "nova", "1", 1.0, 0.0, empty()))
    assert len(outputs) == 13
    shown, take = outputs[1], studio.shelf.find(outputs[2])
    assert f"/sound/{take.id}.wav" in shown and shown.count('class="token"') == len(
        take.synthesis.tokens
    )
    assert shown.count('class="word"') == 2 and "Hello" in shown
    assert outputs[4]["choices"] == [("Hello", 0), ("there", 1)]


def test_a_sound_is_served_to_who_has_its_id(client: TestClient) -> None:
    studio = client.app.state.studio  # type: ignore[attr-defined]
    take = finished(speak(studio, Asked("Hello.", "nova", seed=1)))
    for kind in ("wav", "flac", "mp3"):
        told = client.get(f"/sound/{take.id}.{kind}")
        assert told.status_code == 200
        assert told.content == studio.shelf.file(take.id, kind).read_bytes()
    part = client.get(f"/sound/{take.id}.wav", headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")


def test_failures_are_one_line_and_nothing_else_moves(calls: Handlers) -> None:
    for outputs in (
        last(calls.speak("", "nova", "", 1.0, 0.0, empty())),
        last(calls.script("", "", "", 1.0)),
        last(calls.speak("Hello.", "nova", "one", 1.0, 0.0, empty())),
        last(calls.speak("Hello.", "nova", "-1", 1.0, 0.0, empty())),
        last(calls.speak("Hello.", "nova", "1", 99.0, 0.0, empty())),
        last(calls.hear(None, empty())),
        calls.why(None, 0.1, None, False),
        calls.why(None, 0.1, None, True),
        calls.verify(None),
        calls.make_voice("", "", None, "", [], "attested", "en", "", None, False),
        calls.start("", "", [], None, "en", 1.0, 18.0, [], False),
        calls.withdraw(None),
        calls.delete("nova"),
    ):
        assert 'role="alert"' in outputs[0]
        assert all(isinstance(part, dict) for part in outputs[1:])


def test_sliders_become_changes(calls: Handlers, take: Take) -> None:
    made, shown = calls.changed("emphasis", 1, 0.5, 0.0, empty(), take.id)
    assert made["emphasis"] == {1: 0.5} and "there" in shown
    assert calls.sliders(1, made) == [0.5, 1.0] and calls.sliders(0, made) == [0.0, 1.0]
    made, shown = calls.changed("emphasis", 1, 0.0, 0.0, made, take.id)
    assert made == empty() and "No changes" in shown
    made, _ = calls.changed("heads", None, 0.0, 1.0, empty(), take.id)
    assert made == empty()


def test_a_and_b_differ_by_the_changes_alone(calls: Handlers, studio: Studio, take: Take) -> None:
    status, player, table = last(calls.hear(take.id, {**empty(), "emphasis": {0: 1.0}}))
    assert "alert" not in status and 'class="take"' in player
    assert table.count("<tr>") == 3 and str(take.synthesis.seed) in table
    quick = last(calls.hear(take.id, empty(), 1, 0.5, 1.0))
    assert 'class="take"' in quick[1]
    nothing = last(calls.hear(take.id, empty()))
    assert "Nothing is changed" in nothing[0]


def test_concepts_have_sliders(studio: Studio) -> None:
    direction = tuple([0.1] * 256)
    concept = steer.Concept(name="calm as a lake", site="speaker", direction=direction)
    studio.settings.concepts.mkdir(parents=True)
    steer.Edits(edits=(concept,)).save(studio.settings.concepts / "calm.json")
    parts = build(studio, Tuner(studio.settings), Words("en")).config["components"]
    labels = [part["props"].get("label") for part in parts if part["type"] == "slider"]
    assert "calm as a lake" in labels


def test_a_click_names_moment_and_word(calls: Handlers) -> None:
    def picked(data: object) -> Any:
        return calls.picked(SimpleNamespace(_data=data))  # type: ignore[arg-type]

    assert picked({"at": 0.5, "word": 1}) == (0.5, 1)
    assert picked({"at": 0.5, "word": -1}) == (0.5, None)
    for odd in (None, {}, {"at": "x", "word": 1}, {"at": 1.0, "word": "<b>"}):
        assert all(isinstance(part, dict) for part in picked(odd))


def test_consent_and_voices_in_the_panel(calls: Handlers, recording: Path) -> None:
    status, box, number = calls.sentence("zh")
    assert status == "" and len(number) == 6 and "我同意" in box
    made = calls.make_voice(
        "anna", "p-1", str(recording), "", ["personal"], "attested", "en", "", None, True
    )
    assert "anna" in made[0] and "given" in made[1] and made[2]["value"] == "anna"
    assert ("anna (your own)", "anna") in made[2]["choices"]
    assert "ended" in calls.withdraw("anna")[0] and "missing" in calls.table()
    assert calls.delete("anna")[3]["choices"] == []


def test_text_of_others_is_escaped(calls: Handlers, studio: Studio) -> None:
    evil = '<img src=x onerror="alert(1)">'
    assert "<img" not in calls.agreement("en", evil, ["personal"])
    assert "<img" not in figures.note(evil)
    shown = last(calls.speak(f"Hello {evil}", "nova", "1", 1.0, 0.0, empty()))[1]
    assert "<img" not in shown
    assert "<img" not in last(calls.speak("Hello.", evil, "1", 1.0, 0.0, empty()))[0]
    assert html.unescape(figures.note(evil)).count("<img") == 1


def test_verifying_a_take(calls: Handlers, studio: Studio, take: Take) -> None:
    status, found = calls.verify(str(studio.shelf.file(take.id, "flac")))
    assert status == "" and 'class="verdict' in found
