"""Fill the table of docs/claims.md from what the benchmarks measured.

    python benchmarks/claims.py out.json                  # of benchmarks/explain.py: writes docs/claims.md
    python benchmarks/claims.py snr.json compress.json    # of vq_ablation, snr, compress, article_freeze
    python benchmarks/claims.py out.json --check          # prints the table only

The rule was written before the run. Every claim names one figure (or two that must both hold), the value that it
has where the claim is false (`none`), and the least value that would still be worth the claim (`least`):
confirmed if the 95 % interval lies above `none` and the value reaches `least`; refuted if the whole interval lies
below `least`; else undecided, as is what was not measured, and whatever comes from a --quick run. Rows of
benchmarks that are not given are left as they stand.
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
    command: str = COMMAND


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

# Decided by benchmarks that write their figures under "claims".
OTHERS = (
    Claim("The quantiser steadies training", "", ("drift", "word errors"), 0.0, 0.1,
          "on / off study, paired by speaker, length and seed: share of drift and of word errors "
          "(both must hold) that is there more without it, 10 and 20 s",
          "python benchmarks/vq_ablation.py --keep DIR --json out.json"),
    Claim("MOS drops by 0.8 below 20 dB SNR", "", ("drop",), 0.0, 0.8,
          "references disturbed in four ways: DNSMOS less, clean to the mean of 10, 5 and 0 dB",
          "python benchmarks/snr.py --keep rows.jsonl --json out.json"),
    Claim("An LSTM student costs little", "", ("word errors", "nats"), 0.0, 0.0,
          "student against teacher, paired by text: room left under +2 points of word errors and under "
          "+5 % nats a held-out token; both must hold",
          "python benchmarks/compress.py --store DIR --held DIR --student DIR --json out.json"),
    Claim("Freezing first steadies training", "", ("rise",), 0.0, 0.1,
          "two-stage schedule on / off, paired by seed: share of the largest rise of the validation "
          "loss that goes",
          "python benchmarks/article_freeze.py STORE --json out.json"),
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
    return written(claim, title, figures, [row["note"] for row in here if row["note"]], quick)


def written(
    claim: Claim, title: str, figures: list[Figure], notes: list[str], quick: bool
) -> str:  # fmt: skip
    """The row that figures make."""
    said = verdict(figures, claim) if not quick else "undecided"
    effects = [
        f"{f['value']:.3g} [{f['low']:.3g}, {f['high']:.3g}], n = {f['count']:.0f}" for f in figures
    ]
    told = "; ".join([*effects, *notes]) or "not measured"
    rule = f"worth it from {claim.least:g}, nothing at {claim.none:g}"
    mode = "quick run, which decides nothing: " if quick else ""
    command = claim.command.format(rows=claim.rows)
    return f"| {title} | {said} | {mode}{told} ({rule}) | {claim.by} | `{command}` |"


def filled(text: str, data: dict[str, Any]) -> str:
    """The document with the rows of our claims anew, and whose weights they are."""
    lines = text.splitlines()
    for claim in CLAIMS:
        place, title = row_of(lines, claim)
        lines[place] = line(claim, title, data["found"], data["quick"])
    made = [f"Weights measured: {data['weights']}." if at.startswith("Weights measured") else at
            for at in lines]  # fmt: skip
    return "\n".join(made) + "\n"


def row_of(lines: list[str], claim: Claim) -> tuple[int, str]:
    """Where a claim stands in the document, and its title there."""
    places = [i for i, at in enumerate(lines) if at.startswith(f"| {claim.start}")]
    if len(places) != 1:
        raise ValueError(f"{DOC.name} has {len(places)} rows that begin {claim.start!r}")
    return places[0], re.split(r" \| ", lines[places[0]][2:], maxsplit=1)[0]


def filled_by_others(text: str, data: dict[str, Any]) -> str:
    """The document with the rows that another benchmark's "claims" decide; the weights stand in the row."""
    lines = text.splitlines()
    for claim in OTHERS:
        found = data["claims"].get(claim.start)
        if found is not None:
            place, title = row_of(lines, claim)
            figures = [found[part] for part in ("figure", "second") if part in found]
            notes = [note for note in (found["note"], f"weights {data['weights']}") if note]
            lines[place] = written(claim, title, figures, notes, data["quick"])
    return "\n".join(lines) + "\n"


def main(
    figures: Annotated[list[Path], typer.Argument(help="JSON of the benchmarks.")],
    check: Annotated[bool, typer.Option("--check", help="Print, write nothing.")] = False,
) -> None:
    """Decide the claims."""
    made = DOC.read_text("utf-8")
    for path in figures:
        data = json.loads(path.read_text("utf-8"))
        known = data.keys() & {"found", "claims"} if isinstance(data, dict) else set()
        if not known:
            raise ValueError(f"{path} holds no figures that decide a claim")
        made = filled(made, data) if "found" in known else filled_by_others(made, data)
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
