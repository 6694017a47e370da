"""Make the pictures of docs/studio.md: python docs/make_studio_pictures.py [--tuned FOLDER]

Needs the extras `studio` and `browser`, and a Chromium (VOXRAY_CHROMIUM, or on the path). `--tuned` is a
folder that `voxray tune` filled: its curves are shown. Home and records are temporary.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from voxray import trust
from voxray.studio import Settings, create_app
from voxray.studio.tuning import Job, Wanted

HERE = Path(__file__).parent / "img"
PORT = 7861
COLOURS = 256
MINUTES = 5 * 60_000  # milliseconds: answers take their time on a busy machine
CHROMIUM = os.environ.get("VOXRAY_CHROMIUM") or shutil.which("chromium") or "chromium"


def keep(page: Page, name: str, height: int | None = None) -> None:
    """A picture of the page from its top, in few colours."""
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(400)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    if height is not None:
        picture = picture.crop((0, 0, picture.width, min(height, picture.height)))
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(
        HERE / f"studio-{name}.png", optimize=True
    )
    size = (HERE / f"studio-{name}.png").stat().st_size
    sys.stdout.write(f"studio-{name}.png: {size / 1e3:.0f} kB\n")


def speak(page: Page, word: int) -> None:
    """Say the example, click a word, ask, emphasise it, hear both."""
    page.get_by_role("textbox").first.wait_for()
    page.click("#go")
    page.wait_for_selector("#first audio")
    page.wait_for_timeout(800)
    page.locator("#first .word").nth(word).scroll_into_view_if_needed()
    box = page.locator("#first .word").nth(word).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    page.wait_for_timeout(4000)
    page.locator("#emphasis input[type=range]").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(4000)
    page.get_by_role("button", name="More settings").nth(1).click()  # heads and concepts
    page.click("#hear")
    page.wait_for_selector("#second audio")
    page.click("#why-word")
    page.wait_for_selector("#answer .sentence, #why-status .error")


def others(page: Page, sound: Path) -> None:
    """The other tabs."""
    page.get_by_role("tab", name="Script").click()
    page.click("#script-go")
    page.wait_for_selector("#script-player audio")
    keep(page, "script")
    address = page.get_attribute("#script-player audio", "src") or ""
    sound.write_bytes(page.request.get(f"http://127.0.0.1:{PORT}{address}").body())
    page.get_by_role("tab", name="New voice").click()
    page.fill("#new-name :is(input, textarea)", "anna")
    page.fill("#new-who :is(input, textarea)", "p-1")
    page.set_input_files("#sample input[type=file]", sound)
    page.click("#ask")
    page.wait_for_selector("#sentence .sentence-box")
    page.wait_for_timeout(1500)
    keep(page, "voice")
    page.get_by_role("tab", name="Verify").click()
    page.set_input_files("#drop input[type=file]", sound)
    page.wait_for_selector("#finding .verdict")
    keep(page, "verify", 760)
    page.get_by_role("tab", name="Fine-tune").click()
    page.wait_for_timeout(3000)
    box = page.locator("#progress :is(.curves, .facts)").bounding_box()
    keep(page, "tune", None if box is None else round(box["y"] + box["height"] + 4))


def main() -> None:
    """All pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tuned", type=Path)
    tuned = parser.parse_args().tuned
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        trust.use(Path(home) / "trust")
        app = create_app(Settings(home=Path(home)))
        if tuned is not None:
            done = subprocess.Popen([sys.executable, "-c", ""])
            begun = time.monotonic()
            app.state.tuner.job = Job(Wanted(tuned.name, "p-1", [], True), tuned, done, begun - 223)
            app.state.tuner.job.until, app.state.tuner.job.state = begun, "done"
        server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level="warning", ws="none"))
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.1)
        flags = [] if os.name == "nt" or os.getuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        wide = browser.new_page(viewport={"width": 1000, "height": 700})
        wide.set_default_timeout(MINUTES)
        wide.goto(f"http://127.0.0.1:{PORT}/en/")
        speak(wide, 1)
        keep(wide, "speak")
        others(wide, Path(home) / "sound.wav")
        narrow = browser.new_page(viewport={"width": 390, "height": 844})
        narrow.set_default_timeout(MINUTES)
        narrow.goto(f"http://127.0.0.1:{PORT}/zh/")
        narrow.click("#go")
        narrow.wait_for_selector("#first audio")
        keep(narrow, "narrow", 1000)
        browser.close()
        server.should_exit = True


if __name__ == "__main__":
    main()
