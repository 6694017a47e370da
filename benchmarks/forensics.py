"""How well does the detector tell synthetic speech from people's? Goal beside figure.

    python benchmarks/forensics.py --quick
    python benchmarks/forensics.py --json out.json
    python benchmarks/forensics.py --audio my_fakes/ --real my_recordings/

Real and fake go the same roads (band, noise, codec) before they are judged. Seen generators, in
voices and texts never heard: the teacher; `mini` speaking (built-in voices kept apart, and voices of
test speakers), `mini` converting clips of test speakers. Never trained on: WORLD (a source-filter
vocoder; `pip install pyworld "setuptools<81"`) saying the very clips of the people again;
without it, that row is left out. `--audio` puts your own fakes in its place. Each again with
watermarks in real and fake alike; then spliced segments. Exit code 1: a goal was missed.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from voxray import audio
from voxray.forensics.detector import judge
from voxray.forensics.matching import RATE, levelled, roughen
from voxray.forensics.train import balanced, equal_error_rate
from voxray.trust.watermark.embed import embed
from voxray.trust.watermark.pattern import pattern

Wave = NDArray[np.float32]
SHARED = Path(__file__).resolve().parents[2] / "shared"
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
SECONDS = 3.0
TEACHER = "teacher, voices never heard"
MINI = "mini speaks, voices and texts never heard"
KEY = b"benchmark key of thirty-two byte"


@dataclass(frozen=True)
class Row:
    """A figure and its goal."""

    what: str
    figure: float
    goal: float
    met: bool
    note: str = ""


def real_clips(folder: Path | None, count: int) -> list[Path]:
    """Recordings of people, of speakers that the detector never heard."""
    if folder is not None:
        return balanced(_sounds(folder), count, 1)
    with (SHARED / "speech" / "manifest.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    chosen = [
        SHARED / "speech" / row["path"]
        for row in rows
        if row["split"] == "test" and row["use"] == "train" and float(row["duration_s"]) >= 2.0
    ]
    spread = balanced(chosen, max(count, 100), 1)  # every speaker is among them
    return [spread[n] for n in np.random.default_rng(1).permutation(len(spread))[:count]]


def teacher_clips(count: int) -> list[Path]:
    """The teacher, in the voices that were kept apart."""
    with (SHARED / "teacher" / "speech" / "manifest.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    chosen = [
        SHARED / "teacher" / "speech" / row["path"]
        for row in rows
        if row["split"] == "test" and float(row["duration"]) >= 2.0
    ]
    return balanced(chosen, count, 1)


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)


def loaded(paths: Sequence[Path]) -> list[Wave]:
    """At 16 kHz, three seconds of each."""
    waves = []
    for path in paths:
        wave, rate = audio.read_audio(path)
        waves.append(levelled(wave, rate)[: round(SECONDS * RATE)])
    return waves


def mini(kinds: Sequence[str], count: int) -> list[Wave]:
    """The built-in model, before the mark (marks are a row of their own)."""
    import forensics_own as own

    source, waves = own.source("test", 5), []
    for number in range(count):
        made, rate = own.KINDS[kinds[number % len(kinds)]](source)
        waves.append(levelled(made, rate)[: round(SECONDS * RATE)])
    return waves


def world(waves: Sequence[Wave]) -> list[Wave]:
    """Clips said again by WORLD: pitch, envelope and aperiodicity, nothing changed."""
    pyworld = importlib.import_module("pyworld")

    made = []
    for wave in waves:
        parts = pyworld.wav2world(np.asarray(wave, np.float64), RATE)
        made.append(levelled(pyworld.synthesize(*parts, RATE).astype(np.float32), RATE))
    return made


def fakes(
    folder: Path | None, name: str, count: int, real: Sequence[Wave]
) -> Iterator[tuple[str, list[Wave], float]]:
    """Generators, their clips and the goal; made when asked for."""
    yield TEACHER, loaded(teacher_clips(count)), 0.05
    if folder is not None:
        yield f"{name}, never trained on", loaded(_sounds(folder)[:count]), 0.15
    elif importlib.util.find_spec("pyworld") is None:
        print("WORLD, never trained on: left out, pyworld is not installed", file=sys.stderr)
    else:
        yield "WORLD, never trained on", world(real), 0.15
    yield "mini converts, voices and clips never heard", mini(("convert",), count), 0.05
    yield MINI, mini(("say", "clone"), count), 0.05


def scores(waves: Sequence[Wave], seed: int, *, marked: bool = False) -> np.ndarray:
    """Log odds after a drawn road; with `marked`, a watermark before it."""
    dice = np.random.default_rng(seed)
    found = []
    for number, wave in enumerate(waves):
        if marked:
            wave = embed(wave, RATE, pattern(KEY).carrying(number))
        found.append(judge(roughen(wave, RATE, dice), RATE).score)
    return np.array(found)


def splices(real: Sequence[Wave], fake: Sequence[Wave], seed: int) -> list[float]:
    """Overlap (IoU) of what is found with what was spliced in, 1.2 s in the middle of 3 s."""
    dice = np.random.default_rng(seed)
    found = []
    for people, machine in zip(real, fake, strict=False):
        size, length = min(len(people), round(SECONDS * RATE)), round(1.2 * RATE)
        if size < 2.5 * RATE or len(machine) < length:
            continue
        begin = int(dice.integers(RATE // 2, size - length - RATE // 4))
        at = int(dice.integers(0, len(machine) - length + 1))
        mixed = people[:size].copy()
        mixed[begin : begin + length] = machine[at : at + length]
        spans = judge(roughen(mixed, RATE, dice), RATE).spans
        truth = np.zeros(size, bool)
        truth[begin : begin + length] = True
        said = np.zeros(size, bool)
        for span in spans:
            said[round(span.start_s * RATE) : round(span.end_s * RATE)] = True
        found.append(float((truth & said).sum() / max(1, (truth | said).sum())))
    return found


def main(
    audio_folder: Annotated[Path | None, typer.Option("--audio", help="Fakes, never seen.")] = None,
    real_folder: Annotated[Path | None, typer.Option("--real", help="Recordings.")] = None,
    unseen: Annotated[str, typer.Option(help="The name of that generator.")] = "these fakes",
    quick: Annotated[bool, typer.Option("--quick")] = False,
    count: Annotated[int, typer.Option(help="Clips of each kind; 0: 24 or 100.")] = 0,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Run the benchmark."""
    count = count or (24 if quick else 100)
    real = loaded(real_clips(real_folder, count))
    rows: list[Row] = []

    def tell(what: str, figure: float, goal: float, note: str = "", least: bool = False) -> None:
        row = Row(what, figure, goal, figure >= goal if least else figure <= goal, note)
        rows.append(row)
        sign = "  " if row.met else "✗ "
        print(f"{sign}{row.what:62} {row.figure:7.3f}  goal {row.goal:g}  {row.note}", flush=True)

    people, marked_people = scores(real, 1), scores(real, 1, marked=True)
    tell("people called synthetic, at log odds 0", float((people > 0).mean()), 0.05)
    for name, waves, goal in fakes(audio_folder, unseen, count, real):
        machine = scores(waves, 2)
        note = f"{len(people)} real, {len(machine)} fake; {np.mean(machine <= 0):.0%} fakes pass"
        tell(f"EER, {name}", equal_error_rate(people, machine), goal, note)
        marked = equal_error_rate(marked_people, scores(waves, 2, marked=True))
        tell(f"EER, {name}, all watermarked", marked, goal)
        if name in (TEACHER, MINI):
            overlaps = splices(real, waves, 4)
            overlap = float(np.mean(overlaps)) if overlaps else 0.0
            note = f"{len(overlaps)} cut in"
            tell(
                f"IoU of spliced segments, {name.split(',')[0].split()[0]}",
                overlap,
                0.6,
                note,
                least=True,
            )
    if json_path is not None:
        record = {"machine": platform.machine(), "date": time.strftime("%Y-%m-%d"),
                  "command": " ".join(sys.argv[1:]), "rows": [asdict(row) for row in rows]}  # fmt: skip
        json_path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    raise typer.Exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    typer.run(main)
