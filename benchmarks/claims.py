"""Fill the table of docs/claims.md from what benchmarks/explain.py measured.

    python benchmarks/claims.py out.json            # writes docs/claims.md
    python benchmarks/claims.py out.json --check    # prints the table only

The rule was written before the run. Every claim names one figure (or two that must both hold), the value that it
has where the claim is false (`none`), and the least value that would still be worth the claim (`least`):
confirmed if the 95 % interval lies above `none` and the value reaches `least`; refuted if the whole interval lies
below `least`; else undecided, as is what was not measured, and whatever comes from a --quick run. Rows that other
benchmarks decide are left as they stand.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

DOC = Path(__file__).parents[1] / "docs" / "claims.md"
COMMAND = "python benchmarks/explain.py --jobs 2 --json out.json --rows {rows}"
Figure = dict[str, float]


@dataclass(frozen=True)
class Claim:
    """What is said, and the figures that decide it. `start`: how its line in the table begins."""

    start: str
    rows: str
    figures: tuple[str, ...]
    none: float
    least: float
    by: str


CLAIMS = (
    Claim("Attention binds words to their roles", "roles", ("role binding, best head, held out",),
          0.5, 0.6, "correlational: object against lure, the head chosen on the other sentences"),
    Claim("Alike words of two languages meet in high layers", "two_languages",
          ("translation retrieval MRR, last layer over the embeddings",), 0.0, 0.1,
          "correlational: retrieval of translations, last layer less embeddings"),
    Claim("Quantised tokens fall into vowels", "unlabelled_units",
          ("without labels, K = 100: vowel / consonant / silence, way from shuffled to pure",),
          0.0, 0.5, "correlational: units learnt from sound alone; 0 shuffled codes, 1 pure"),
    Claim("... into voiced / unvoiced, aspirated", "unlabelled_units",
          ("without labels, K = 100: voiced consonants, way from shuffled to pure",
           "without labels, K = 100: aspirated consonants, way from shuffled to pure"), 0.0, 0.5,
          "the same, among consonants; both must hold"),
    Claim("Pitch is driven by the GPT's high layers", "why",
          ("why: pitch, upper GPT layers over lower ones",), 0.0, 0.1,
          "each layer skipped: median share of a pitch event that goes, upper half less lower half"),
    Claim("... and by certain couplings of the flow", "why",
          ("why: pitch, the strongest of the couplings",), 0.0, 0.25,
          "each coupling's shift made even: median share of a pitch event that goes"),
    Claim("Timbre comes by the path speaker encoder", "ledger",
          ("timbre ledger, tokens and speaker vector together",), 0.5, 0.5,
          "parts exchanged between speakers: share of the likeness"),
    Claim("A weighted head adds feeling", "weighted_head",
          ("a head at twice its output: effect on arousal",), 0.0, 0.5,
          "gain 2 on the head that did most on other texts: high, loud and fast, in spreads of a speaker"),
    Claim("Another head stops repetition", "loops",
          ("loops, less by turning down the heads found",), 0.0, 0.5,
          "heads found on half of the texts that loop, turned off on the other half"),
)  # fmt: skip


def verdict(figures: list[Figure], claim: Claim) -> str:
    """confirmed, refuted or undecided."""
    if len(figures) < len(claim.figures):
        return "undecided"
    if any(figure["high"] < claim.least for figure in figures):
        return "refuted"
    held = [f["low"] > claim.none and f["value"] >= claim.least for f in figures]
    return "confirmed" if all(held) else "undecided"


def line(claim: Claim, title: str, found: dict[str, Any], quick: bool) -> str:
    """One row of the table."""
    rows = {row["name"]: row for part in found.values() for row in part["rows"]}
    here = [rows[name] for name in claim.figures if name in rows]
    figures = [row["figure"] for row in here if isinstance(row["figure"], dict)]
    said = verdict(figures, claim) if not quick else "undecided"
    effects = [
        f"{f['value']:.3g} [{f['low']:.3g}, {f['high']:.3g}], n = {f['count']:.0f}" for f in figures
    ]
    notes = [row["note"] for row in here if row["note"]]
    told = "; ".join([*effects, *notes]) or "not measured"
    rule = f"worth it from {claim.least:g}, nothing at {claim.none:g}"
    mode = "quick run, which decides nothing: " if quick else ""
    command = COMMAND.format(rows=claim.rows)
    return f"| {title} | {said} | {mode}{told} ({rule}) | {claim.by} | `{command}` |"


def filled(text: str, data: dict[str, Any]) -> str:
    """The document with the rows of our claims anew, and whose weights they are."""
    lines = text.splitlines()
    for claim in CLAIMS:
        places = [i for i, at in enumerate(lines) if at.startswith(f"| {claim.start}")]
        if len(places) != 1:
            raise ValueError(f"{DOC.name} has {len(places)} rows that begin {claim.start!r}")
        title = re.split(r" \| ", lines[places[0]][2:], maxsplit=1)[0]
        lines[places[0]] = line(claim, title, data["found"], data["quick"])
    made = [f"Weights measured: {data['weights']}." if at.startswith("Weights measured") else at
            for at in lines]  # fmt: skip
    return "\n".join(made) + "\n"


def main(
    figures: Annotated[Path, typer.Argument(help="JSON of benchmarks/explain.py.")],
    check: Annotated[bool, typer.Option("--check", help="Print, write nothing.")] = False,
) -> None:
    """Decide the claims."""
    data = json.loads(figures.read_text("utf-8"))
    if not isinstance(data, dict) or "found" not in data:
        raise ValueError(f"{figures} holds no figures of benchmarks/explain.py")
    made = filled(DOC.read_text("utf-8"), data)
    if check:
        print(made)
        return
    DOC.write_text(made, "utf-8")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"claims: {error}\n")
        sys.exit(2)
