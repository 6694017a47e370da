"""Does the watermark last, and does nobody hear it? Goal beside figure; fails where one is missed.

    python benchmarks/watermark.py --quick                  # a few clips
    python benchmarks/watermark.py --json out.json          # everything
    python benchmarks/watermark.py --audio my_clips/ --rate 48000
    python benchmarks/watermark.py --parts hard,public,visqol   # what needs other people's packages

Marks speech of people and of the teacher whom the reader never heard (or any clips), attacks it, and
reads it back from 1, 3 and 10 s cut out at random places; tries a million (unmarked window x
independent key) pairs; compares the cost, in CPU time, with that of speaking; asks DNSMOS and
ViSQOL. What is not installed is skipped and named. Exit code 1: a goal was missed.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from watermark_attacks import ATTACKS, HARD, missing

from voxray import audio
from voxray.trust.watermark.detect import (
    AS_MADE,
    AT_ANY_SPEED,
    FALSE_ALARM,
    chance_of,
    detect,
    listen,
)
from voxray.trust.watermark.embed import embed
from voxray.trust.watermark.grid import CELLS
from voxray.trust.watermark.pattern import NUMBERS, pattern

Wave = NDArray[np.float32]
SHARED = Path(__file__).resolve().parents[2] / "shared"
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
KEY = b"benchmark key of thirty-two byte"
LONG, SPEAKING = 11.0, 0.3  # seconds of a clip; least share of a window's loud frames
LEAST = 3  # files of a folder that are joined to one clip
PARTS = "robust,alarms,cost,dnsmos,hard,public,visqol"
ALARM_GOAL = 1e-6
GOAL, COST_GOAL, DNSMOS_GOAL, TRIALS = 0.99, 0.03, 0.05, 1_000_000
KEYS_AT_ONCE, WINDOWS = 4_000, 50
NONE = float("nan")  # the goal of what is only told


@dataclass(frozen=True)
class Row:
    """A figure and its goal."""

    what: str
    figure: float
    goal: float
    met: bool
    note: str = ""


@lru_cache(1)
def _unheard() -> dict[Path, list[Path]]:
    """Sentences of the splits kept apart for tests, a speaker's together: the reader heard none."""
    groups: dict[Path, list[Path]] = {}
    for root in (SHARED / "speech", SHARED / "teacher" / "speech"):
        with (root / "manifest.tsv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if row["split"] == "test" and row.get("corpus") != "audio-cmn":  # words, not speech
                    path = root / row["path"]
                    groups.setdefault(path.parent, []).append(path)
    return groups


@lru_cache(1)
def _given(folder: Path) -> dict[Path, list[Path]]:
    groups: dict[Path, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES):
        groups.setdefault(path.parent, []).append(path)
    return groups


def clips(folder: Path | None, count: int, rate: int, seed: int) -> Iterator[tuple[str, Wave]]:
    """Speech of `LONG` seconds: recordings of one folder joined, folders drawn at random."""
    groups = _given(folder) if folder else _unheard()
    groups = {name: paths for name, paths in groups.items() if len(paths) >= LEAST}
    if not groups:
        raise SystemExit(f"no folder with {LEAST} clips or more: give one with --audio")
    dice = np.random.default_rng(seed)
    names = sorted(groups)
    while count > 0:
        group = names[int(dice.integers(len(names)))]
        wave = _joined(groups[group], rate, dice)
        if len(wave) >= LONG * rate:
            yield group.name, wave[: round(LONG * rate)]
            count -= 1


def _joined(paths: list[Path], rate: int, dice: np.random.Generator) -> Wave:
    parts: list[Wave] = []
    for index in dice.permutation(len(paths)):
        wave, own = audio.read_audio(paths[index])
        wave = audio.resample(wave, own, rate)
        parts.append((wave / max(float(np.abs(wave).max()), 1e-6) * 0.6).astype(np.float32))
        if sum(map(len, parts)) >= LONG * rate:
            break
    return np.concatenate(parts)


def windows(
    wave: Wave, rate: int, seconds: float, count: int, dice: np.random.Generator
) -> Iterator[Wave]:
    """Pieces cut out at random; those that are nearly all pause are passed over."""
    size, loud = round(seconds * rate), float(np.sqrt((wave**2).mean()))
    tries = 0
    while count > 0 and tries < 200:
        tries += 1
        begin = int(dice.integers(0, max(1, len(wave) - size + 1)))
        piece = wave[begin : begin + size]
        frames = piece[: len(piece) // 400 * 400].reshape(-1, 400)
        if (np.sqrt((frames**2).mean(1)) > 0.3 * loud).mean() >= SPEAKING:
            count -= 1
            yield piece


@dataclass
class Tally:
    """Successes out of tries."""

    good: int = 0
    tries: int = 0

    def add(self, good: bool) -> None:
        self.good, self.tries = self.good + good, self.tries + 1


def robustness(
    folder: Path | None, count: int, rate: int, names: list[str]
) -> dict[str, dict[str, Tally]]:
    """Attack -> what is asked -> tally."""
    dice = np.random.default_rng(3)
    table = {name: {"1 s": Tally(), "3 s": Tally(), "10 s": Tally()} for name in names}
    for clip, (_, wave) in enumerate(clips(folder, count, rate, 5)):
        number = int(dice.integers(NUMBERS))
        marked = embed(wave, rate, pattern(KEY).carrying(number))
        for name in names:
            attack = ATTACKS[name] if name in ATTACKS else HARD[name][0]
            attacked = attack(marked, rate, dice)
            row = table[name]
            for piece in windows(attacked, rate, 1.0, 2, dice):
                row["1 s"].add(detect(piece, rate, KEY).present)
            for piece in windows(attacked, rate, 3.0, 1, dice):
                row["3 s"].add(detect(piece, rate, KEY).low == number & 0xFFFF)
            for piece in windows(attacked, rate, 10.0, 1, dice):
                row["10 s"].add(detect(piece, rate, KEY).number == number)
        sys.stderr.write(f"clip {clip + 1} of {count}\n")
    return table


@dataclass(frozen=True)
class Alarms:
    """What independent keys found in unmarked windows."""

    trials: int
    windows: int
    alarms: int
    highest_as_made: float
    limit_as_made: float
    highest_at_others: float
    limit_at_others: float


def limit(hypotheses: int) -> float:
    """The least score that counts as present."""
    low, high = 0.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if chance_of(middle, hypotheses) <= FALSE_ALARM else (middle, high)
        )
    return high


def false_alarms(folder: Path | None, rate: int, trials: int, count: int) -> Alarms:
    """Every trial: one window of 1 s, one key; what `detect` decides by, all shifts and speeds.

    Given the windows, trials are independent: every one has signs of its own, 582 fair coins. Where
    the cells lie is taken from one key a window; the bound holds for any place of the cells.
    """
    dice = np.random.default_rng(31)
    limits = limit(AS_MADE), limit(AT_ANY_SPEED)
    highest, alarms, done = np.zeros(2), 0, 0
    each = -(-trials // count // KEYS_AT_ONCE)
    for number, (_, wave) in enumerate(clips(folder, count, rate, 32)):
        piece = next(windows(wave, rate, 1.0, 1, dice))
        presence = pattern(bytes([number % 255 + 1]) * 32).presence
        heard = listen(piece, rate)
        seen = np.stack(heard.folded)[:, :, presence]  # [speeds, shifts, cells]
        seen /= np.sqrt((seen**2).sum(2, keepdims=True) + 1e-12)
        as_made = heard.speeds.index(1.0)
        for _ in range(each):
            signs = _coins(dice, len(presence))
            best = np.stack([(signs @ rows.T).max(1) for rows in seen])  # [speeds, keys]
            tops = best[as_made], best.max(0)
            done += len(tops[0])
            highest = np.maximum(highest, [top.max() for top in tops])
            alarms += int(((tops[0] >= limits[0]) | (tops[1] >= limits[1])).sum())
    return Alarms(done, count, alarms, float(highest[0]), limits[0], float(highest[1]), limits[1])


def _coins(dice: np.random.Generator, cells: int) -> NDArray[np.float32]:
    """Signs [keys, cells]."""
    drawn = np.frombuffer(dice.bytes(KEYS_AT_ONCE * -(-cells // 8)), np.uint8)
    bits = np.unpackbits(drawn.reshape(KEYS_AT_ONCE, -1), axis=1)[:, :cells]
    return bits.astype(np.float32) * 2 - 1


def cost(seconds: float = 20.0) -> dict[str, float]:
    """CPU time of marking, as a share of the CPU time of speaking with the built-in model."""
    from voxray.engine import tts
    from voxray.pipeline import SynthesisOptions
    from voxray.voice import Voice

    text = "The birch canoe slid on the smooth planks, and nobody in the village noticed. "
    pipeline, voice = tts.pipeline(), Voice.builtin("nova")
    options = SynthesisOptions(seed=1)
    pipeline.synthesise("Hello.", voice, options)
    began = time.process_time()
    made = pipeline.synthesise(text * max(1, round(seconds / 5)), voice, options)
    speaking = time.process_time() - began
    signs = pattern(KEY).carrying(1)
    embed(made.audio, made.sample_rate, signs)
    began = time.process_time()
    embed(made.audio, made.sample_rate, signs)
    marking = time.process_time() - began
    return {"speaking": speaking / made.seconds, "marking": marking / made.seconds,
            "share": marking / speaking}  # fmt: skip


def dnsmos(folder: Path | None, count: int, rate: int) -> tuple[float, float]:
    """Mean change of DNSMOS by the mark, and its standard error."""
    from voxray.evaluate.judges import Judges

    judge = Judges().naturalness
    changes = []
    for _, wave in clips(folder, count, rate, 23):
        marked = embed(wave, rate, pattern(KEY).carrying(12345))
        scores = [judge(audio.resample(w, rate, 16_000)) for w in (wave, marked)]
        changes.append(scores[1] - scores[0])
    return float(np.mean(changes)), float(np.std(changes) / np.sqrt(len(changes)))


def visqol(folder: Path | None, count: int, rate: int) -> list[Row]:
    """ViSQOL's MOS-LQO (speech, 16 kHz) of the marked clip against the clip; 5 is no difference."""
    try:
        module = import_module("visqol")  # visqol-python: a port of Google's, with its model
    except ImportError:
        sys.stderr.write("ViSQOL is skipped: pip install visqol-python\n")
        return []
    judge = module.VisqolApi()
    judge.create(mode="speech")
    scores = []
    for _, wave in clips(folder, count, rate, 23):
        marked = embed(wave, rate, pattern(KEY).carrying(12345))
        pair = [audio.resample(w, rate, 16_000).astype(np.float64) for w in (wave, marked)]
        scores.append(float(judge.measure_from_arrays(*pair, 16_000).moslqo))
    note = f"{min(scores):.2f} to {max(scores):.2f}, {len(scores)} clips; no goal"
    return [Row("ViSQOL MOS-LQO, speech", float(np.mean(scores)), NONE, True, note)]


def public(folder: Path | None, count: int, rate: int) -> list[Row]:
    """Perth and the keyed mark in one file: is each still found?"""
    from voxray.trust.watermark import public as perth

    if not perth.installed():
        sys.stderr.write("the public mark is skipped: pip install voxray[public-mark]\n")
        return []
    both, alone, lost = Tally(), Tally(), Tally()
    for _, wave in clips(folder, count, rate, 41):
        first = perth.mark(wave, rate)
        marked = embed(first, rate, pattern(KEY).carrying(7))
        both.add(perth.likeness(marked, rate) >= perth.LIKELY)
        lost.add(perth.likeness(wave, rate) >= perth.LIKELY)
        alone.add(detect(marked, rate, KEY).number == 7)
    return [
        Row("public mark found beside ours", both.good / both.tries, NONE, True,
            f"{both.good} of {both.tries}; in unmarked speech {lost.good} of {lost.tries}"),
        Row("our number read beside the public mark", alone.good / alone.tries, NONE, True,
            f"{alone.good} of {alone.tries}"),
    ]  # fmt: skip


def rows_of(table: dict[str, dict[str, Tally]], goal: float = GOAL) -> list[Row]:
    """One row an attack and question; what has no goal cannot miss it."""
    asked = {"1 s": "found in 1 s", "3 s": "16 bits from 3 s", "10 s": "32 bits from 10 s"}
    return [
        Row(f"{attack}: {asked[length]}", tally.good / max(1, tally.tries), goal,
            not tally.good < goal * tally.tries, f"{tally.good} of {tally.tries}")
        for attack, lengths in table.items() for length, tally in lengths.items()
    ]  # fmt: skip


def alarm_row(found: Alarms) -> Row:
    """The false alarms, with how near the highest came."""
    note = (f"{found.alarms} of {found.trials} ({found.windows} windows); highest "
            f"{found.highest_as_made:.2f} of {found.limit_as_made:.2f} as made, "
            f"{found.highest_at_others:.2f} of {found.limit_at_others:.2f} at any speed")  # fmt: skip
    share = found.alarms / found.trials
    met = share <= ALARM_GOAL and found.trials >= TRIALS
    return Row("false alarms", share, ALARM_GOAL, met, note)


def show(rows: list[Row]) -> None:
    """Goal beside figure."""
    for row in rows:
        sign = "  " if row.met else "✗ "
        goal = "no goal" if np.isnan(row.goal) else f"goal {row.goal:g}"
        print(f"{sign}{row.what:52} {row.figure:10.4g}  {goal}  {row.note}")


def main(
    audio_folder: Annotated[Path | None, typer.Option("--audio", help="Any clips.")] = None,
    rate: Annotated[int, typer.Option(help="24000, 32000 or 48000")] = 24_000,
    quick: Annotated[bool, typer.Option("--quick")] = False,
    count: Annotated[int | None, typer.Option(help="Clips.")] = None,
    parts: Annotated[str, typer.Option(help="Of what is measured.")] = PARTS,
    attacks: Annotated[str, typer.Option(help="Separated by ; (default: all).")] = "",
    trials: Annotated[int | None, typer.Option(help="Of the false alarms.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Run the benchmark."""
    number, chosen, rows = count or (8 if quick else 60), parts.split(","), []
    asked = attacks.split(";") if attacks else [*ATTACKS, *HARD]
    extra: dict[str, Any] = {}
    if "robust" in chosen:
        names = [name for name in ATTACKS if name in asked]
        rows += rows_of(robustness(audio_folder, number, rate, names))
    if "hard" in chosen:
        lacking = {name: missing(name) for name in HARD if name in asked}
        for name, package in lacking.items():
            if package:
                sys.stderr.write(f"{name} is skipped: pip install {package}\n")
        names = [name for name, package in lacking.items() if not package]
        rows += rows_of(robustness(audio_folder, number, rate, names), NONE)
    if "alarms" in chosen:
        wanted = trials or (TRIALS // 10 if quick else TRIALS)
        found = false_alarms(audio_folder, rate, wanted, 25 if quick else WINDOWS)
        extra["alarms"] = asdict(found)
        rows.append(alarm_row(found))
    if "cost" in chosen:
        spent = extra["cost"] = cost()
        note = f"{spent['marking']:.4f} / {spent['speaking']:.3f} s a second"
        rows.append(Row("CPU time of marking / speaking", spent["share"], COST_GOAL,
                        spent["share"] <= COST_GOAL, note))  # fmt: skip
    if "dnsmos" in chosen:
        change, error = dnsmos(audio_folder, min(number, 24), rate)
        lost = Row("DNSMOS lost", -change, DNSMOS_GOAL, -change <= DNSMOS_GOAL, f"± {error:.3f}")
        rows.append(lost)
    rows += visqol(audio_folder, min(number, 12), rate) if "visqol" in chosen else []
    rows += public(audio_folder, min(number, 12), rate) if "public" in chosen else []
    finish(rows, {"rate": rate, "clips": number, **extra}, json_path)


def finish(rows: list[Row], extra: dict[str, Any], json_path: Path | None) -> None:
    """Show, store, and end with what it means."""
    show(rows)
    if json_path is not None:
        record = {"machine": platform.processor() or platform.machine(), "cells": CELLS,
                  "date": time.strftime("%Y-%m-%d"), "rows": [asdict(row) for row in rows], **extra}  # fmt: skip
        json_path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    raise typer.Exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    typer.run(main)
