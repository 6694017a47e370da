"""The page in headless Chromium: the main path, a narrow screen, the keyboard alone, errors.

Needs `pip install 'voxray[browser]'` and a Chromium on the machine (VOXRAY_CHROMIUM names one).
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs: pip install 'voxray[studio]'")
pytest.importorskip("playwright", reason="needs: pip install 'voxray[browser]'")
sys.path.insert(0, str(Path(__file__).parents[1] / "exam"))
import plants
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from voxray import trust
from voxray.explain.why import why
from voxray.studio import Settings, create_app
from voxray.studio.actions import Asked, finished, speak
from voxray.studio.strings import TABLE
from voxray.trust import reading
from voxray.voice import Voice

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = os.environ.get("VOXRAY_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
PATIENCE = 1000 * int(os.environ.get("VOXRAY_PATIENCE", "60"))  # milliseconds
TABS = ("speak", "script", "voice", "verify", "tune")
Open = Callable[..., Page]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[uvicorn.Server]:
    """A studio on the tiny model at a free port."""
    trust.use(tmp_path_factory.getbasetemp() / "trust")
    settings = Settings(home=tmp_path_factory.mktemp("home"), model=tiny_folder, draws=3)
    app = create_app(settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none")
    made = uvicorn.Server(config)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not made.started and time.monotonic() < until:
        time.sleep(0.05)
    made.app = app  # type: ignore[attr-defined]
    yield made
    made.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Browser]]:
    """Start headless Chromium with switches of one's own."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install one, or name it in VOXRAY_CHROMIUM")
    with sync_playwright() as playwright:
        started: list[Browser] = []

        def start(*switches: str) -> Browser:
            root = [] if os.name == "nt" or os.getuid() else ["--no-sandbox"]  # root has none
            made = playwright.chromium.launch(executable_path=CHROMIUM, args=[*root, *switches])
            started.append(made)
            return made

        yield start
        for made in started:
            made.close()


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Browser:
    """Headless Chromium."""
    return launch()


@pytest.fixture
def page(browser: Browser, server: uvicorn.Server) -> Iterator[Open]:
    """Open pages in it."""
    with pages(browser, server) as open_one:
        yield open_one


@pytest.fixture
def heard(
    launch: Callable[..., Browser], server: uvicorn.Server, recording: Path
) -> Iterator[Open]:
    """Pages with a microphone, which hears the recording again and again."""
    speaking = launch(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
    )
    with pages(speaking, server) as open_one:
        yield open_one


@contextmanager
def pages(browser: Browser, server: uvicorn.Server) -> Iterator[Open]:
    """Open pages; at the end nothing was asked of anybody else, and no script failed."""
    port = server.servers[0].sockets[0].getsockname()[1]
    home = f"http://127.0.0.1:{port}"
    opened: list[Page] = []
    asked: list[str] = []
    faults: list[str] = []

    def open_one(language: str = "en", width: int = 1100, height: int = 900) -> Page:
        made = browser.new_page(viewport={"width": width, "height": height})
        made.set_default_timeout(PATIENCE)
        made.on("request", lambda request: asked.append(request.url))
        made.on("pageerror", lambda error: faults.append(str(error)))
        made.goto(f"{home}/{language}/")
        made.wait_for_selector("#go")
        opened.append(made)
        return made

    yield open_one
    for made in opened:
        made.close()
    elsewhere = [url for url in asked if not url.startswith((home, "data:", "blob:"))]
    assert not elsewhere, f"the page asked others: {elsewhere}"
    assert not faults


def say(page: Page, text: str = "Hello there.") -> None:
    page.fill("#text textarea", text)
    page.click("#go")
    page.wait_for_selector("#first audio")
    expect(page.locator("#word input")).to_be_visible()


def tab(page: Page, name: str, column: int = 0) -> None:
    page.get_by_role("tab", name=TABLE[f"tab.{name}"][column], exact=True).click()


def record(page: Page, place: str, seconds: float = 4.5) -> None:
    """With the microphone, until the page has the sound."""
    page.click(f"{place} .record-button")
    stop = page.locator(f"{place} .stop-button")
    stop.wait_for()
    page.wait_for_timeout(1000 * seconds)
    stop.click()
    page.wait_for_selector(f"{place} .waveform-container")


def seconds(page: Page, player: str = "#first") -> float:
    return page.locator(f"{player} audio").evaluate(
        "audio => new Promise(done => audio.readyState > 0 ? done(audio.duration) :"
        " audio.addEventListener('loadedmetadata', () => done(audio.duration)))"
    )


def test_the_main_path(page: Open, server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    case = plants.chain(0)
    planted = why(case.speech, word=case.event_word, what="pitch", draws=3)
    monkeypatch.setattr("voxray.studio.handlers.ask", lambda *_, **__: planted)
    here = page()
    say(here)
    assert seconds(here) > 0.1
    assert here.locator("#first .word").count() == 2
    assert here.locator("#first .token").count() > 2
    box = here.locator("#first .word").nth(1).bounding_box()
    assert box is not None
    here.mouse.click(box["x"] + box["width"] / 2, box["y"] + 30)
    expect(here.locator("#word input")).to_have_value("there")
    assert float(here.input_value("#moment input[type=number]")) > 0
    here.click("#why-here")
    expect(here.locator("#answer .sentence")).to_contain_text("rises by")
    expect(here.locator("#answer .faithful")).to_contain_text("%")
    here.locator("#emphasis input[type=range]").focus()
    for _ in range(5):
        here.keyboard.press("ArrowRight")
    expect(here.locator(".changes")).to_contain_text("there")
    here.click("#hear")
    here.wait_for_selector("#second audio")
    expect(here.locator("#comparison tbody tr")).to_have_count(2)


def test_the_chinese_page_and_back(page: Open) -> None:
    here = page("zh")
    assert here.evaluate("document.documentElement.lang").startswith("zh")
    say(here, "你好。")
    expect(here.locator("#status")).to_contain_text("用时")
    tab(here, "verify", 1)
    expect(here.locator("#drop")).to_contain_text("拖")  # Gradio's own words, too
    here.click("#top a")
    here.wait_for_url("**/en/")
    expect(here.locator("#go")).to_have_text("Speak")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_narrow_screen(page: Open, language: str) -> None:
    here = page(language, 390, 844)
    say(here)
    for name in TABS:
        tab(here, name, ("en", "zh").index(language))
        here.wait_for_timeout(200)
        wide = here.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{name} is {wide} px wide"
    tab(here, "speak", ("en", "zh").index(language))
    scroll = here.locator("#first .scroll")
    assert scroll.evaluate(
        "n => n.scrollWidth > n.clientWidth"
    )  # the picture scrolls, not the page


def test_the_keyboard_alone(page: Open) -> None:
    here = page()

    def step_to(selector: str, most: int = 60, key: str = "Tab") -> None:
        for _ in range(most):
            if here.evaluate(
                "s => !!document.activeElement && document.activeElement.matches(s)", selector
            ):
                return
            here.keyboard.press(key)
        raise AssertionError(f"{selector} is not reached by {key}")

    step_to("#text textarea")
    here.keyboard.press("Control+a")
    here.keyboard.type("Hello there.")
    step_to("#go")
    here.keyboard.press("Enter")
    here.wait_for_selector("#first audio")
    expect(here.locator("#word input")).to_be_visible()
    step_to("#first .word")
    here.keyboard.press("Tab")
    here.keyboard.press("Enter")
    expect(here.locator("#word input")).to_have_value("there")
    step_to("#emphasis input[type=range]")
    here.keyboard.press("ArrowRight")
    step_to("#hear")
    here.keyboard.press("Enter")
    here.wait_for_selector("#second audio")
    step_to("[role=tab]", key="Shift+Tab", most=80)


def test_errors_are_told_and_the_page_goes_on(page: Open, tmp_path: Path) -> None:
    here = page()
    here.fill("#text textarea", "  ")
    here.click("#go")
    expect(here.locator("#status [role=alert]")).to_contain_text("empty")
    assert here.locator("#first audio").count() == 0
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + bytes(100))
    tab(here, "verify")
    here.set_input_files("#drop input[type=file]", broken)
    expect(here.locator("#verify-status [role=alert]")).to_contain_text("no sound")
    assert str(tmp_path) not in here.content() and "Traceback" not in here.content()
    tab(here, "speak")
    say(here)


def test_no_consent_no_voice_then_consent(page: Open, recording: Path) -> None:
    here = page()
    tab(here, "voice")
    here.fill("#new-name :is(input, textarea)", "anna")
    here.fill("#new-who :is(input, textarea)", "p-1")
    here.set_input_files("#sample input[type=file]", recording)
    here.wait_for_selector("#sample .waveform-container, #sample [data-testid*=waveform]")
    here.click("#make")
    expect(here.locator("#voice-status [role=alert]")).to_contain_text("consent")
    here.click("#ask")
    expect(here.locator("#sentence")).to_contain_text("My number is")
    here.get_by_label(TABLE["kind.attested"][0]).check()
    here.click("#make")
    expect(here.locator("#voice-status [role=alert]")).to_contain_text("agreed in writing")
    here.locator("#agreed input").check()
    here.click("#make")
    expect(here.locator("#voice-status")).to_contain_text("Consent on record")
    expect(here.locator("#own")).to_contain_text("anna")
    tab(here, "speak")
    expect(here.locator("#voice input")).to_have_value("anna (your own)")
    say(here)


def test_a_voice_from_the_microphone(
    heard: Open, server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded on the page, with the sentence read aloud; then it speaks."""
    monkeypatch.setattr(reading, "recogniser", lambda: None)  # the noise has no words
    here = heard()
    tab(here, "voice")
    here.fill("#new-name :is(input, textarea)", "mia")
    here.fill("#new-who :is(input, textarea)", "p-2")
    here.click("#sample [data-testid=source-select] [aria-label='Record audio']")
    record(here, "#sample")
    here.click("#ask")
    expect(here.locator("#sentence")).to_contain_text("My number is")
    record(here, "#reading")
    here.click("#make")
    expect(here.locator("#voice-status")).to_contain_text("Consent on record")
    studio = server.app.state.studio  # type: ignore[attr-defined]
    kept = studio.cast.find("mia")[0].details()["recording"]
    assert 3 <= kept["seconds"] <= 30, kept
    assert studio.cast.state("mia") == "given"
    tab(here, "speak")
    expect(here.locator("#voice input")).to_have_value("mia (your own)")
    say(here)


LEARNER = """
import shutil, sys, time
from pathlib import Path
out, voice, go_on = Path(sys.argv[sys.argv.index("--output") + 1]), *map(Path, sys.argv[1:3])
log = out / "work" / "run" / "gpt" / "log.jsonl"
log.parent.mkdir(parents=True)
log.write_text('{"step": 1, "seconds": 0.1, "kind": "gpt", "tokens": 2.5}\\n')
while not go_on.exists():
    time.sleep(0.1)
with log.open("a") as more:
    more.write('{"step": 2, "seconds": 0.2, "kind": "gpt", "tokens": 1.5}\\n')
shutil.copy(voice, out / "voice.safetensors")
"""


def test_fine_tuning_draws_its_curve_as_it_goes(
    page: Open, server: uvicorn.Server, recording: Path, voice: Voice, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The page's part: a stand-in learns, a step before we look and a step after."""
    made, go_on = tmp_path / "made.safetensors", tmp_path / "go-on"
    voice.save(made)
    learner = [sys.executable, "-c", LEARNER, str(made), str(go_on)]
    tuner = server.app.state.tuner  # type: ignore[attr-defined]
    monkeypatch.setattr(tuner, "command", lambda arguments: [*learner, *arguments])
    here = page()
    tab(here, "tune")
    here.fill("#tune-name :is(input, textarea)", "bea")
    here.fill("#tune-who :is(input, textarea)", "p-3")
    here.set_input_files("#tune-files input[type=file]", recording)
    expect(here.locator("#tune-files")).to_contain_text("someone")
    here.click("#tune-start")
    expect(here.locator("#tune-status [role=alert]")).to_contain_text("agreed")
    here.locator("#tune-agreed input").check()
    here.click("#tune-start")
    expect(here.locator("#progress")).to_contain_text("bea: running")
    expect(here.locator("#progress polyline")).to_have_count(1)
    go_on.touch()
    expect(here.locator("#progress")).to_contain_text("bea: done")
    expect(here.locator("#progress")).to_contain_text("2.5 → 1.5 at step 2")
    assert server.app.state.studio.cast.state("tuned:bea") == "given"  # type: ignore[attr-defined]


def test_a_script_and_its_file_verified(page: Open, tmp_path: Path) -> None:
    here = page()
    tab(here, "script")
    here.fill("#script textarea", "Anna: Hello there, this is Anna.\nBob: And this is Bob.")
    here.click("#script-go")
    here.wait_for_selector("#script-player audio")
    assert here.locator("#script-player .turns span").count() == 2
    with here.expect_download() as waiting:
        here.click("#script-player .facts a >> nth=0")
    saved = tmp_path / "script.wav"
    waiting.value.save_as(saved)
    tab(here, "verify")
    here.set_input_files("#drop input[type=file]", saved)
    here.wait_for_selector("#finding .verdict")


def test_two_readers_hear_their_own(page: Open, server: uvicorn.Server) -> None:
    one, two = page(), page()
    say(one, "Hello there.")
    say(two, "One two three.")
    assert one.locator("#first .word").count() == 2
    assert two.locator("#first .word").count() == 3
    studio = server.app.state.studio  # type: ignore[attr-defined]
    finished(speak(studio, Asked("Hello.", "nova", 1)))  # and nothing is locked
