"""The page stands alone, is small, escapes what the user wrote, and works in a browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests_explain import opened

from voxray import steer
from voxray.bundle import Bundle
from voxray.explain import figures
from voxray.explain.report import Answer, Report, Take, report_of, with_edits

BROWSER = next((p for p in map(shutil.which, ("chromium", "google-chrome")) if p), None)
# What a user would do, written into the page's own body for the test to read.
ACTS = """<script>
const said = {};
maps[1].click(); said.opened = dialog.open; said.name = dialog.querySelector("h3").textContent;
said.rows = dialog.querySelectorAll(".rows span").length;
dialog.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
said.next = dialog.querySelector("h3").textContent;
dialog.close(); said.closed = !dialog.open;
tokens[0].focus(); said.told = document.querySelector(".told").textContent;
tokens[0].dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
said.second = tokens.indexOf(document.activeElement);
said.wide = document.documentElement.scrollWidth <= innerWidth;
document.body.dataset.said = JSON.stringify(said);
</script>"""


@pytest.fixture(scope="module")
def report(tiny: Bundle) -> Report:
    return replace(report_of(opened(tiny)), command="voxray explain 'Hello there.' --seed 3")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.silent: list[str] = []
        self.sections: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [str(v) for k, v in attrs if k in ("src", "href") and v]
        named = found.get("alt") or found.get("aria-label")
        if (tag == "img" and "alt" not in found) or (found.get("role") and not named):
            self.silent.append(str(self.get_starttag_text())[:80])
        if tag == "section":
            self.sections.append(str(found.get("id")))


def test_one_page_without_network(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.save(path)
    text = path.read_text("utf-8")
    tags = Tags()
    tags.feed(text)
    assert all(link.startswith(("data:", "#")) for link in tags.links)
    assert "{{" not in text and not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not tags.silent, "pictures without words"
    assert set(tags.sections) >= {"sound", "tokens", "heads", "binding", "lens", "attribution"}
    assert text.count('class="map"') >= 4 and "data:audio/mpeg;base64," in text
    assert "prefers-color-scheme: dark" in text and "--seed 3" in text
    assert path.stat().st_size < 3e6


def test_what_the_user_wrote_is_escaped(report: Report, tmp_path: Path) -> None:
    made = report.trace.synthesis
    nasty = replace(made, text="<script>alert(1)</script>", voice='"><b>')
    spoken = replace(report.trace.spoken, synthesis=nasty)
    evil = replace(report, trace=replace(report.trace, spoken=spoken))
    evil.save(tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text("utf-8")
    assert "<script>alert" not in text and '"><b>' not in text


def test_answers_and_takes_are_shown_with_their_claim(report: Report, tmp_path: Path) -> None:
    answers = [Answer("The pitch rises at there.", {"share": 0.6}, "activation patching")]
    answers.append(Answer("Head 1 likes vowels."))
    more = replace(report, answers=answers, takes=[Take("without head 1", report.trace.synthesis)])
    more.save(tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text("utf-8")
    assert "activation patching · share 0.6" in text and "without head 1" in text
    assert text.count("<audio") == 2
    assert more.to_json()["answers"][1]["claim"] == "correlational"


def test_edits_make_a_second_player_and_are_kept_to_replay(report: Report) -> None:
    edited = with_edits(report, steer.HeadGain(site="gpt.blocks.1.attn.z", head=1, gain=0.0))
    held = edited.to_json()["edits"]
    assert len(held) == 1 and held[0]["head"] == 1
    take = edited.takes[0].synthesis
    assert take.seed == report.trace.synthesis.seed
    assert take.edits == held and not report.takes


def test_every_number_as_json_and_csv(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "x.json")
    held = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert held["seed"] == 3 and len(held["heads"]["rows"]) == 4
    assert held["heads"]["claim"].startswith("mean ablation")
    assert held["attributions"][0]["completeness_error"] < 0.05
    files = {path.name: path for path in report.tables(tmp_path / "csv")}
    with files["tokens.csv"].open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(report.trace.synthesis.tokens)


@pytest.mark.slow
def test_figures_for_papers(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = [*report.figures(tmp_path), *report.figures(tmp_path, "svg")]
    assert len(made) == 4 and made[0].read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in made[-1].read_bytes()
    with pytest.raises(ValueError, match="png or .svg"):
        figures.paper(tmp_path / "x.gif", np.eye(2), ["a", "b"], "", 1.0)


def test_a_matrix_survives_as_a_picture() -> None:
    values = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.25]])
    data = figures.matrix_png(values, gamma=1.0)
    body = data[data.index(b"IDAT") + 4 :]
    lines = zlib.decompressobj().decompress(body)
    assert len(lines) == 2 * 3  # a filter byte and two bytes of two pixels
    pixels = [
        (lines[1] >> 4, lines[1] & 15, lines[2] >> 4),
        (lines[4] >> 4, lines[4] & 15, lines[5] >> 4),
    ]
    assert pixels == [(0, 8, 15), (15, 0, 4)]
    with pytest.raises(ValueError, match="matrix"):
        figures.matrix_png(np.zeros((0, 3)))


def test_pictures_of_nothing_are_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no bars"):
        figures.bars_svg([], "nothing")
    with pytest.raises(ValueError, match="no sound"):
        figures.wave_svg(figures.Sound(np.zeros(0), 16_000, [], np.zeros(0)))
    with pytest.raises(ValueError, match=r"\.html or \.json"):
        report.save(tmp_path / "x.pdf")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_page_in_a_browser(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text("utf-8").replace("</body>", ACTS + "</body>")
    (tmp_path / "acts.html").write_text(text, "utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "acts.html").as_uri()]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-said="([^"]*)"', made.stdout)
    assert found, "the page's script did not run to its end"
    said = json.loads(found[1].replace("&quot;", '"'))
    assert said["opened"] and said["closed"] and said["wide"]
    assert said["name"].startswith("layer 0, head 1") and said["next"].startswith("layer 1, head 0")
    assert said["rows"] == len(report.trace.passages[0].passage.ids)
    assert said["told"].startswith("token ") and said["second"] == 1
