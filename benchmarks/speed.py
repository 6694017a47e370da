"""How fast is it? Real-time factor, time to the first audio and peak memory, beside their goals.

    python benchmarks/speed.py                  # two threads on two cores
    python benchmarks/speed.py --quick
    python benchmarks/speed.py --voice me.wav --json out.json

The real-time factor is seconds of computing per second of audio, over whole texts; first audio is
the time from `tts.stream(...)` to its first chunk, models loaded. Run it on a quiet machine.
Exit code 1: a goal was missed; 2: it could not be run.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from quality import QUICK, RESULTS, TEXTS, facts_of_run

from voxray.evaluate import report, sets
from voxray.evaluate.sets import Line

GOALS = {"rtf": 0.15, "first audio [s]": 0.3, "peak memory [GB]": 1.0}
PER_KIND = {"short": 3, "sentence": 6, "long": 3, "paragraph": 2}


@dataclass(frozen=True)
class Row:
    """Medians of one language and kind of text; `spread` is the range of the RTF."""

    language: str
    kind: str
    texts: int
    seconds: float  # of audio
    rtf: float
    spread: tuple[float, float]
    first_audio: float
    shares: dict[str, float]  # of the computing time, by stage


def measure(lines: Sequence[Line], voice: str | None, model: str | None, repeats: int) -> list[Row]:
    """Say everything `repeats` times whole and once streamed."""
    from voxray.engine import tts

    rows = []
    for language, kind in dict.fromkeys((line.language, line.kind) for line in lines):
        chosen = [line for line in lines if (line.language, line.kind) == (language, kind)]
        made: list[tuple[float, float]] = []
        stages: dict[str, float] = {}
        for line in chosen:
            for seed in range(repeats):
                began = time.perf_counter()
                spoken = tts(line.text, voice, model=model, seed=seed, language=language)
                made.append((time.perf_counter() - began, spoken.seconds))
                for stage in ("text", "tokens", "audio"):
                    stages[stage] = stages.get(stage, 0.0) + spoken.timings.get(stage, 0.0)
        first = [_first_audio(line, voice, model) for line in chosen]
        factors = [spent / seconds for spent, seconds in made if seconds]
        whole = max(1e-9, sum(stages.values()))
        rows.append(
            Row(
                language,
                kind,
                len(chosen),
                sum(seconds for _, seconds in made),
                sum(spent for spent, _ in made) / max(1e-9, sum(seconds for _, seconds in made)),
                (min(factors), max(factors)),
                statistics.median(first),
                {stage: value / whole for stage, value in stages.items()},
            )
        )
    return rows


def _first_audio(line: Line, voice: str | None, model: str | None) -> float:
    from voxray.engine import tts

    began = time.perf_counter()
    stream = tts.stream(line.text, voice, model=model, seed=0, language=line.language)
    try:
        next(iter(stream), None)
        return time.perf_counter() - began
    finally:
        stream.close()


def peak_memory_gb() -> float:
    """Of this process, since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6 / 1.024)


def tables(rows: Sequence[Row], memory: float) -> tuple[str, str, int]:
    """Goals, figures, and how many goals were missed."""
    spent = sum(row.rtf * row.seconds for row in rows)
    figures = {
        "rtf": spent / max(1e-9, sum(row.seconds for row in rows)),
        "first audio [s]": statistics.median(row.first_audio for row in rows),
        "peak memory [GB]": memory,
    }
    missed = [name for name, value in figures.items() if value > GOALS[name]]
    goals = ["| measure | figure | goal | met |", "|---|---|---|---|"]
    goals += [
        f"| {name} | {value:.3f} | <= {GOALS[name]} | {'**no**' if name in missed else 'yes'} |"
        for name, value in figures.items()
    ]
    lines = [
        "| language | texts | count | audio [s] | rtf | range | first audio [s] "
        "| text / tokens / audio |"
    ]
    lines.append("|" + "---|" * 8)
    lines += [
        f"| {row.language} | {row.kind} | {row.texts} | {row.seconds:.1f} | {row.rtf:.3f} "
        f"| {row.spread[0]:.3f}-{row.spread[1]:.3f} | {row.first_audio:.3f} | "
        + " / ".join(f"{100 * share:.0f} %" for share in row.shares.values())
        + " |"
        for row in rows
    ]
    return "\n".join(goals), "\n".join(lines), len(missed)


def main(
    texts_file: Annotated[
        Path | None, typer.Option("--texts", help="TSV: id, text, language, kind.")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="A name, a voice file, a recording.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's folder.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer texts, once each.")] = False,
    repeats: Annotated[int, typer.Option(help="How often each text is said.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads, and cores where they can be set.")] = 2,
) -> None:
    """Measure speed and memory."""
    import torch

    from voxray.engine import tts

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    sources = [texts_file] if texts_file else [TEXTS / "en.tsv", TEXTS / "zh.tsv"]
    counts = dict.fromkeys(QUICK, 1) if quick else PER_KIND
    lines = [line for path in sources for line in sets.pick(sets.read_texts(path), counts)]
    began = time.perf_counter()
    tts("Ready.", voice, model=model, seed=0)
    tts("准备好了。", voice, model=model, seed=0)
    loaded = time.perf_counter() - began
    rows = measure(lines, voice, model, 1 if quick else repeats)
    goals, figures, missed = tables(rows, peak_memory_gb())
    print(goals, "\n")
    print(figures)
    facts: dict[str, Any] = {key: value for key, value in facts_of_run().items() if key != "judges"}
    facts["threads"] = str(threads)
    facts["load, first words in both languages"] = f"{loaded:.1f} s"
    if texts_file is None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        page = report.page("Speed", facts, {"Goals": goals, "All figures": figures})
        (RESULTS / "speed.md").write_text(page, encoding="utf-8")
    if out is not None:
        record = {
            "facts": facts,
            "rows": [asdict(row) for row in rows],
            "memory_gb": peak_memory_gb(),
        }
        out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    if missed:
        print(f"{missed} goals missed")
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"speed: {error}\n")
        sys.exit(2)
