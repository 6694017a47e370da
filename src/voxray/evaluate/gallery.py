"""What was measured, to read and to hear: a Markdown table, a CSV of clips, an HTML page with players.

In: the rows of each system (figures, scores) and the items. Out: `table.md`, `clips.csv`, `index.html` in
the folder of the measurement. The page stands alone but for the audio beside it; texts are escaped.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, isnan
from pathlib import Path

from .lists import Item
from .measure import AUDIO, Judged
from .metrics import Figure

FINE = ("similarity", "to", "natural", "F0", "RTF", "first")
MOST_PLAYED = 60  # items on the page

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { border: 1px solid #bbb; padding: .3rem .6rem;
text-align: left; vertical-align: top } audio { width: 15rem } .wrong { color: #a00 } small { color: #555 }
"""


@dataclass(frozen=True)
class Page:
    """All that a report needs."""

    title: str
    facts: Mapping[str, str]
    items: Sequence[Item]
    table: Mapping[str, Mapping[str, Figure]]  # by system or control
    scores: Mapping[str, Sequence[Judged]]


def shown(measure: str, figure: Figure) -> str:
    """A figure with its interval, as precise as it deserves."""
    if isnan(figure.value):
        return ""
    form = ".2f" if measure.split()[0] in FINE else ".1f" if "%" in measure else ".0f"
    if figure.low == figure.high:
        return f"{figure.value:{form}}"
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"


def markdown(page: Page) -> str:
    """The table and how it came about."""
    measures = list(dict.fromkeys(name for figures in page.table.values() for name in figures))
    lines = [f"# {page.title}", "", *(f"- {name}: {value}" for name, value in page.facts.items())]
    lines += ["", "| system | clips | " + " | ".join(measures) + " |"]
    lines.append("|" + "---|" * (2 + len(measures)))
    for system, figures in page.table.items():
        cells = [shown(name, figures[name]) if name in figures else "" for name in measures]
        clips = len(page.scores.get(system, ()))
        lines.append(f"| {system} | {clips} | " + " | ".join(cells) + " |")
    lines += ["", *LEGEND]
    return "\n".join(lines) + "\n"


LEGEND = (
    "- `error %`: word errors (Mandarin: character errors, Simplified); brackets: 95 % bootstrap interval",
    "  over texts. `lost`, `repeated`, `leaked`, `failed`: share of clips with such a run (2 words, 3 characters),",
    "  or with no audio at all; a failure counts as every word lost.",
    "- `similarity J`: cosine with the prompt by judge J; `to recording J`: with the recording of the text.",
    "- `natural`: the rater's score (1-5); `F0 r`: correlation of log-F0 with the recording, warped in time.",
    "- `RTF`: computing seconds per second of speech; `memory MB`: peak of the speaking process, alone.",
)


def clips_csv(page: Page) -> str:
    """One row a clip."""
    judges = sorted({n for scores in page.scores.values() for s in scores for n in s.similarity})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["system", "id", "seed", "language", "errors", "length", "lost", "repeated", "leaked", "failed"]
        + [f"similarity {name}" for name in judges]
        + ["natural", "F0 r", "text", "heard"]
    )  # fmt: skip
    for system, scores in page.scores.items():
        for s in scores:
            near = [_number(s.similarity.get(name, float("nan"))) for name in judges]
            writer.writerow(
                [system, s.id, s.seed, s.language, s.errors, s.length, s.lost, s.repeated]
                + ["; ".join(s.leaked), int(s.failed), *near, _number(s.natural), _number(s.melody)]
                + [s.text, s.heard]
            )
    return out.getvalue()


def _number(value: float) -> str:
    return f"{value:.4f}" if isfinite(value) else ""


def html(page: Page, root: Path) -> str:
    """The page with players; audio is named relative to `root`."""
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{escape(page.title)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(page.title)}</h1><ul>",
        *(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in page.facts.items()),
        f"</ul>{_figures_html(page)}<h2>Listen</h2>{_clips_html(page, root)}",
    ]
    return "\n".join(parts) + "\n"


def _figures_html(page: Page) -> str:
    measures = list(dict.fromkeys(name for figures in page.table.values() for name in figures))
    rows = ["<table><tr><th>system" + "".join(f"<th>{escape(name)}" for name in measures)]
    for system, figures in page.table.items():
        cells = (shown(name, figures[name]) if name in figures else "" for name in measures)
        rows.append(f"<tr><td>{escape(system)}" + "".join(f"<td>{cell}" for cell in cells))
    return "\n".join([*rows, "</table>"])


def _clips_html(page: Page, root: Path) -> str:
    spoken = [name for name in page.scores if (root / "systems" / name / "audio").is_dir()]
    by_key = {(name, s.id): s for name in spoken for s in page.scores[name] if s.seed == 0}
    rows = ["<table><tr><th>text<th>prompt<th>recording"]
    rows[0] += "".join(f"<th>{escape(name)}" for name in spoken)
    for item in page.items[:MOST_PLAYED]:
        row = f"<tr><td>{escape(item.text)}<br><small>{escape(item.id)}</small>"
        row += f"<td>{_player(item.prompt, root)}<td>{_player(item.truth, root)}"
        for name in spoken:
            score = by_key.get((name, item.id))
            path = root / "systems" / name / "audio" / f"{item.id}.0.{AUDIO}"
            row += f"<td>{_player(path, root)}{_heard_html(score)}"
        rows.append(row)
    return "\n".join([*rows, "</table>"])


def _player(path: Path | None, root: Path) -> str:
    if path is None or not path.is_file():
        return ""
    source = os.path.relpath(path, root).replace(os.sep, "/")
    return f'<audio controls preload=none src="{escape(source, quote=True)}"></audio>'


def _heard_html(score: Judged | None) -> str:
    if score is None:
        return ""
    mark = " class=wrong" if score.errors else ""
    return f"<br><small{mark}>{escape(score.heard) or 'nothing'} ({score.errors}/{score.length})</small>"


def write(page: Page, root: Path) -> list[Path]:
    """Write all three, each whole or not at all."""
    made = []
    for name, text in (
        ("table.md", markdown(page)),
        ("clips.csv", clips_csv(page)),
        ("index.html", html(page, root)),
    ):
        beside = root / f".{name}.part"
        beside.write_text(text, encoding="utf-8")
        beside.replace(root / name)
        made.append(root / name)
    return made
