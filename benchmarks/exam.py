"""The explainers' own exam: planted causes and unplanted twins; is the right cause ranked first?

    python benchmarks/exam.py                    # 24 chains, 12 couplings, 12 speaker dimensions,
                                                 # 8 look-ups and 8 retrievals, and twins
    python benchmarks/exam.py --quick --json out.json

Each tool sees a model whose cause of an event was wired in, and knows nothing of it; then a twin in which
the mechanism was taken out. Goals: right >= 95 % of the planted, a cause named <= 5 % of the twins.
Exit code 1: a goal was missed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "exam"))
from sitting import SITTINGS, Mark

MODELS = {"chain": 24, "coupling": 12, "speaker": 12, "look_up": 8, "retrieval": 8}
QUICK = {"chain": 3, "coupling": 2, "speaker": 2, "look_up": 2, "retrieval": 2}
RIGHT, FALSE = 0.95, 0.05
RESULTS = Path(__file__).parent / "results" / "exam.md"


def sit(counts: dict[str, int], show: bool = True) -> list[Mark]:
    """All sittings."""
    marks: list[Mark] = []
    for name, count in counts.items():
        for seed in range(count):
            for planted in (True, False):
                marks += SITTINGS[name](seed, planted)
            if show:
                print(f"{name} {seed + 1} of {count}", file=sys.stderr)
    return marks


def table(marks: list[Mark]) -> tuple[str, bool]:
    """One row a tool, and whether the goals are met over all."""
    lines = [
        "| tool | planted | right first | and named | twins | false alarms |",
        "|" + "---|" * 6,
    ]
    for tool in [*dict.fromkeys(mark.tool for mark in marks), "all"]:
        mine = [mark for mark in marks if tool in (mark.tool, "all")]
        planted, twins = ([m for m in mine if m.planted == side] for side in (True, False))
        right = sum(mark.right for mark in planted)
        sure = sum(mark.right and mark.named for mark in planted)
        alarms = sum(mark.named for mark in twins)
        share = f"{alarms} ({alarms / len(twins):.0%})" if twins else "not asked"
        lines.append(
            f"| {tool} | {len(planted)} | {right} ({right / len(planted):.0%}) | {sure} ({sure / len(planted):.0%}) | {len(twins)} | {share} |"
        )
    met = right / len(planted) >= RIGHT and alarms / len(twins) <= FALSE
    lines.append(f"\nGoals: right >= {RIGHT:.0%}, false alarms <= {FALSE:.0%}: "
                 f"{'met' if met else '**missed**'}.")  # fmt: skip
    return "\n".join(lines), met


def main(
    quick: Annotated[bool, typer.Option(help="Eleven models instead of 64.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write every mark here.")] = None,
    keep: Annotated[bool, typer.Option(help="Write the table to benchmarks/results.")] = False,
) -> None:
    """Sit the exam."""
    began = time.perf_counter()
    counts = QUICK if quick else MODELS
    marks = sit(counts)
    text, met = table(marks)
    seconds = time.perf_counter() - began
    cores = (
        f"{os.cpu_count()} CPU cores, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    command = "python benchmarks/exam.py" + (" --quick" if quick else "")
    when = time.strftime("%Y-%m-%d")
    head = f"# Exam of the explainers\n\n`{command}`, {when}, {cores}, {seconds:.0f} s; {sum(counts.values())} planted models and as many twins.\n"
    print(f"{head}\n{text}")
    if keep:
        RESULTS.write_text(f"{head}\n{text}\n", encoding="utf-8")
    if out is not None:
        record = {"met": met, "seconds": seconds, "marks": [asdict(mark) for mark in marks]}
        out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    typer.run(main)
