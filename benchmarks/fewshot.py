"""Does a minute make a voice? Tuned against zero-shot, 10 to 60 s of speech, goal beside figure.

    python benchmarks/fewshot.py --quick          # one speaker, 20 s, a few steps: does it run
    python benchmarks/fewshot.py --json out.json  # eight speakers, four lengths: a night
    python benchmarks/fewshot.py --speakers 2 --seconds 60

Goals at 60 s: similarity (s - impostor) / (same - impostor) >= 0.7 by both judges and above zero-shot on
every speaker; word errors at most one point above zero-shot; 20 minutes a run. Exit 1: a goal was missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import comparing
import numpy as np
import soundfile
import typer

from voxray.evaluate.fewshot import few_shot
from voxray.evaluate.named import NamedJudges
from voxray.train.tuning import Tuning

SECONDS = (10, 20, 30, 60)
LIKENESS, ROOM, MINUTES = 0.7, 1.0, 20.0


@dataclass(frozen=True)
class Row:
    """One speaker and length. Similarities are normalised, by judge; errors in percent."""

    speaker: str
    seconds: float
    zero_shot: dict[str, float]
    tuned: dict[str, float]
    error_before: float
    error_after: float
    minutes: float


def one(
    person: comparing.Person, ear: comparing.Ear, seconds: float, judges: NamedJudges, config: Tuning,
    model: Path | None, keep: Path,
) -> Row:  # fmt: skip
    """Tune on `seconds` of a person's speech."""
    folder = keep / f"{person.name.replace('/', '-')}-{seconds:.0f}"
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    lines = []
    held = [(clip.wave(), clip.text) for clip in person.held]
    for n, (wave, text) in enumerate([*comparing.up_to(person.train, seconds), *held]):
        soundfile.write(clips / f"{n:03d}.wav", wave, 16_000)
        lines.append(f"{n:03d}.wav\t{text}\n")
    (folder / "texts.tsv").write_text("".join(lines), encoding="utf-8")
    began = time.monotonic()
    made = few_shot(
        clips, "tuned", folder / "model", transcripts=folder / "texts.tsv", minutes=seconds / 60,
        model=model, settings=config, judges=judges, say=lambda line: print(" ", line, flush=True),
    )  # fmt: skip
    assert made.before is not None
    assert made.after is not None
    return Row(
        person.name, seconds, ear.normalised(made.before.similarity),
        ear.normalised(made.after.similarity), 100 * made.before.error, 100 * made.after.error,
        (time.monotonic() - began) / 60,
    )  # fmt: skip


def verdicts(rows: list[Row]) -> list[tuple[str, str, str, bool]]:
    """(what, goal, figure, met) at the longest length that was run."""
    longest = max(row.seconds for row in rows)
    last = [row for row in rows if row.seconds == longest]
    made = []
    for name in last[0].tuned:
        mean = float(np.mean([row.tuned[name] for row in last]))
        made.append((f"similarity {name}", f">= {LIKENESS}", f"{mean:.2f}", mean >= LIKENESS))
        above = sum(row.tuned[name] > row.zero_shot[name] for row in last)
        made.append(
            (
                f"above zero-shot, {name}",
                "every speaker",
                f"{above} of {len(last)}",
                above == len(last),
            )
        )
    worse = float(np.mean([row.error_after - row.error_before for row in last]))
    made.append(("word errors", f"<= +{ROOM:.0f} point", f"{worse:+.1f}", worse <= ROOM))
    slow = max(row.minutes for row in last)
    made.append(("minutes a run", f"<= {MINUTES:.0f}", f"{slow:.1f}", slow <= MINUTES))
    return made


def table(rows: list[Row]) -> str:
    """One row a speaker and length."""
    names = list(rows[0].tuned)
    head = "| speaker | s | " + " | ".join(f"{n} zero-shot | {n} tuned" for n in names)
    lines = [head + " | errors % before | after | minutes |"]
    lines.append("|" + "---|" * (5 + 2 * len(names)))
    for row in rows:
        near = " | ".join(f"{row.zero_shot[n]:.2f} | {row.tuned[n]:.2f}" for n in names)
        lines.append(
            f"| {row.speaker} | {row.seconds:.0f} | {near} | {row.error_before:.1f} "
            f"| {row.error_after:.1f} | {row.minutes:.1f} |"
        )
    return "\n".join(lines)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="One speaker, 20 s, few steps.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    speakers: Annotated[int, typer.Option(help="How many.")] = 8,
    seconds: Annotated[str, typer.Option(help="Lengths, with commas.")] = "10,20,30,60",
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep (and resume) the runs here.")] = None,
    rank: Annotated[int, typer.Option(help="Of adapters; 0: all weights.")] = 0,
    shared: Annotated[Path, typer.Option(help="Folder with speech/.")] = comparing.SHARED,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Measure the few-shot goals."""
    import torch

    torch.set_num_threads(threads)
    lengths = [20.0] if quick else [float(s) for s in seconds.split(",")]
    config = Tuning(rank=rank, minutes=8.0)
    if quick:
        config = config.model_copy(
            update={
                "generator_steps": 8,
                "gpt_steps": 8,
                "check_every": 8,
                "batch": 2,
                "gpt_batch": 2,
            }
        )
    judges = NamedJudges(threads=threads)
    everybody = comparing.people(shared)
    heard = comparing.ears(everybody[: 3 if quick else len(everybody)], judges)
    chosen = everybody[: 1 if quick else speakers]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for person in chosen:
            for length in lengths:
                print(f"{person.name}, {length:.0f} s", flush=True)
                row = one(
                    person,
                    heard[person.name],
                    length,
                    judges,
                    config,
                    model,
                    keep or Path(temporary),
                )
                rows.append(row)
    found = verdicts(rows)
    goals = "| measure | goal | figure | met |\n|---|---|---|---|\n" + "\n".join(
        f"| {what} | {goal} | {figure} | {'yes' if met else '**no**'} |"
        for what, goal, figure, met in found
    )
    record = {"rows": [asdict(row) for row in rows]}
    comparing.finish(
        "Few-shot", "fewshot", {"Goals": goals, "Speakers": table(rows)}, record, out, quick
    )
    if not all(met for *_, met in found) and not quick:
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(comparing.run(main, "fewshot"))
