"""How well does the detector tell synthetic speech from people's? Goal beside figure.

    python benchmarks/forensics.py --quick
    python benchmarks/forensics.py --json out.json
    python benchmarks/forensics.py --audio my_fakes/ --real my_recordings/

Real and fake go the same roads (band, noise, codec) before they are judged. Rows: the teacher, on
which it was trained, in voices it never heard; a generator that it was never trained on (`--unseen`
names the folder; default: the built-in model speaks); the same with watermarks in real and fake
alike; spliced segments. Exit code 1: a goal was missed.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
import time
from collections.abc import Sequence
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
KEY = b"benchmark key of thirty-two byte"
TEXTS = (
    "She keeps her old letters in a wooden box under the bed.",
    "The train to the coast leaves at a quarter past seven.",
    "今天下午我们一起去图书馆看书吧。",
    "Nobody in the village noticed that the river had changed its course.",
)


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
    return balanced(chosen, count, 1)


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


def spoken(count: int) -> list[Wave]:
    """The built-in model's own speech, before the mark (marks are a row of their own)."""
    from voxray.engine import tts
    from voxray.pipeline import SynthesisOptions
    from voxray.voice import Voice, builtin_names

    names, waves = builtin_names(), []
    pipeline = tts.pipeline()
    for number in range(count):
        voice = Voice.builtin(names[number % len(names)])
        text = TEXTS[number % len(TEXTS)]
        made = pipeline.synthesise(text, voice, SynthesisOptions(seed=number))
        waves.append(levelled(made.audio, made.sample_rate)[: round(SECONDS * RATE)])
    return waves


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
    unseen: Annotated[str, typer.Option(help="The name of that generator.")] = "voxray mini",
    quick: Annotated[bool, typer.Option("--quick")] = False,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Run the benchmark."""
    count = 24 if quick else 100
    real, teacher = loaded(real_clips(real_folder, count)), loaded(teacher_clips(count))
    others = spoken(count // 2) if audio_folder is None else loaded(_sounds(audio_folder)[:count])
    people = scores(real, 1)
    rows = []
    for name, waves, goal in (("teacher, voices never heard", teacher, 0.05),
                              (f"{unseen}, never trained on", others, 0.15)):  # fmt: skip
        machine = scores(waves, 2)
        rate = equal_error_rate(people, machine)
        note = f"{len(people)} real, {len(machine)} fake; {np.mean(machine <= 0):.0%} fakes pass"
        rows.append(Row(f"EER, {name}", rate, goal, rate <= goal, note))
        marked = equal_error_rate(scores(real, 1, marked=True), scores(waves, 2, marked=True))
        rows.append(Row(f"EER, {name}, all watermarked", marked, goal, marked <= goal))
    alarms = float((people > 0).mean())
    rows.append(Row("people called synthetic, at log odds 0", alarms, 0.05, alarms <= 0.05))
    overlaps = splices(real, teacher, 4)
    overlap = float(np.mean(overlaps)) if overlaps else 0.0
    rows.append(
        Row("IoU of spliced segments", overlap, 0.6, overlap >= 0.6, f"{len(overlaps)} cut in")
    )
    for row in rows:
        sign = "  " if row.met else "✗ "
        print(f"{sign}{row.what:52} {row.figure:7.3f}  goal {row.goal:g}  {row.note}")
    if json_path is not None:
        record = {"machine": platform.machine(), "date": time.strftime("%Y-%m-%d"),
                  "command": " ".join(sys.argv[1:]), "rows": [asdict(row) for row in rows]}  # fmt: skip
        json_path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    raise typer.Exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    typer.run(main)
