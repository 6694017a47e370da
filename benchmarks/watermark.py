"""Does the watermark last, and does nobody hear it? Goal beside figure; fails where one is missed.

    python benchmarks/watermark.py --quick                  # a few clips
    python benchmarks/watermark.py --json out.json          # everything
    python benchmarks/watermark.py --audio my_clips/ --rate 48000

Marks real speech (or any clips), attacks it, and reads it back from 1, 3 and 10 s cut out at random
places; tries a million (unmarked window x independent key) pairs; compares the cost, in CPU time,
with that of speaking; asks DNSMOS. Exit code 1: a goal was missed.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from voxray import audio
from voxray.forensics.matching import through
from voxray.trust.watermark.detect import FALSE_ALARM, SPEEDS, chance_of, detect, listen
from voxray.trust.watermark.embed import embed
from voxray.trust.watermark.grid import CELLS, PERIOD
from voxray.trust.watermark.pattern import NUMBERS, pattern

Wave = NDArray[np.float32]
Attack = Callable[[Wave, int, np.random.Generator], Wave]
SHARED = Path(__file__).resolve().parents[2] / "shared"
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
KEY = b"benchmark key of thirty-two byte"
LONG, SPEAKING = 11.0, 0.3  # seconds of a clip; least share of a window's loud frames
LEAST = 3  # files of a folder that are joined to one clip
PARTS = "robust,alarms,cost,dnsmos"
ALARM_GOAL = 1e-6
GOAL, COST_GOAL, DNSMOS_GOAL, TRIALS = 0.99, 0.03, 0.05, 1_000_000


@dataclass(frozen=True)
class Row:
    """A figure and its goal."""

    what: str
    figure: float
    goal: float
    met: bool
    note: str = ""


def noisy(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    level = float(np.sqrt((wave**2).mean())) * 10 ** (-20 / 20)
    return wave + level * dice.standard_normal(len(wave)).astype(np.float32)


def louder(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    return np.clip(wave * 10 ** (6 / 20), -1, 1).astype(np.float32)


def twice(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    return through(through(wave, rate, "mp3", 64_000), rate, "opus", 24_000)


ATTACKS: dict[str, Attack] = {
    "cropped": lambda wave, rate, dice: wave,
    "mp3 64 kbit/s": lambda wave, rate, dice: through(wave, rate, "mp3", 64_000),
    "opus 24 kbit/s": lambda wave, rate, dice: through(wave, rate, "opus", 24_000),
    "resampled to 16 kHz": lambda w, rate, dice: audio.resample(audio.resample(w, rate, 16_000), 16_000, rate),
    "+6 dB, clipped": louder,
    "-6 dB": lambda wave, rate, dice: wave * np.float32(10 ** (-6 / 20)),
    "white noise at 20 dB": noisy,
    "5 % faster": lambda wave, rate, dice: audio.resample(wave, rate, round(rate / 1.05)),
    "5 % slower": lambda wave, rate, dice: audio.resample(wave, rate, round(rate / 0.95)),
    "mp3 64, then opus 24": twice,
}  # fmt: skip


def clips(folder: Path | None, count: int, rate: int, seed: int) -> Iterator[tuple[str, Wave]]:
    """Speech of `LONG` seconds: recordings of one folder joined, folders drawn at random."""
    roots = [folder] if folder else [SHARED / "speech", SHARED / "teacher" / "speech" / "test"]
    groups: dict[Path, list[Path]] = {}
    for path in sorted(p for root in roots for p in root.rglob("*") if p.suffix in SUFFIXES):
        if "audio-cmn" not in path.parts:  # words, not speech
            groups.setdefault(path.parent, []).append(path)
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
            attacked = ATTACKS[name](marked, rate, dice)
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
    alarms: int
    highest: float
    bound_at_highest: float


def false_alarms(folder: Path | None, rate: int, trials: int, count: int) -> Alarms:
    """Every trial: one window of 1 s, one key; the best of all shifts and speeds counts.

    Where the cells lie is taken from one key a window; the signs, on which the bound rests, are
    drawn anew for every trial.
    """
    dice = np.random.default_rng(12)
    highest, alarms, done = 0.0, 0, 0
    for number, (_, wave) in enumerate(clips(folder, count, rate, 18)):
        piece = next(windows(wave, rate, 1.0, 1, dice))
        heard = listen(piece, rate)
        presence = pattern(bytes([number + 1]) * 32).presence
        seen = np.concatenate(heard.folded)[:, presence]  # [hypotheses, cells]
        seen /= np.sqrt((seen**2).sum(1, keepdims=True) + 1e-12)
        for _ in range(-(-trials // count // 10_000)):
            signs = dice.integers(0, 2, (10_000, len(presence)), np.int8).astype(np.float32) * 2 - 1
            best = (signs @ seen.T).max(1)
            done += len(best)
            highest = max(highest, float(best.max()))
            alarms += sum(chance_of(s, len(SPEEDS) * PERIOD) <= FALSE_ALARM for s in best if s > 5)
    return Alarms(done, alarms, highest, chance_of(highest, len(SPEEDS) * PERIOD))


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


def rows_of(table: dict[str, dict[str, Tally]]) -> list[Row]:
    """One row an attack and question."""
    asked = {"1 s": "found in 1 s", "3 s": "16 bits from 3 s", "10 s": "32 bits from 10 s"}
    return [
        Row(f"{attack}: {asked[length]}", tally.good / max(1, tally.tries), GOAL,
            tally.good >= GOAL * tally.tries, f"{tally.good} of {tally.tries}")
        for attack, lengths in table.items() for length, tally in lengths.items()
    ]  # fmt: skip


def show(rows: list[Row]) -> None:
    """Goal beside figure."""
    for row in rows:
        sign = "  " if row.met else "✗ "
        print(f"{sign}{row.what:45} {row.figure:10.4g}  goal {row.goal:g}  {row.note}")


def main(
    audio_folder: Annotated[Path | None, typer.Option("--audio", help="Any clips.")] = None,
    rate: Annotated[int, typer.Option(help="24000, 32000 or 48000")] = 24_000,
    quick: Annotated[bool, typer.Option("--quick")] = False,
    count: Annotated[int | None, typer.Option(help="Clips.")] = None,
    parts: Annotated[str, typer.Option(help="Of what is measured.")] = PARTS,
    attacks: Annotated[str, typer.Option(help="Separated by ; (default: all).")] = "",
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Run the benchmark."""
    number = count or (8 if quick else 60)
    chosen, rows, extra = parts.split(","), [], {}
    chosen_attacks = [name for name in ATTACKS if not attacks or name in attacks.split(";")]
    if "robust" in chosen:
        rows += rows_of(robustness(audio_folder, number, rate, chosen_attacks))
    if "alarms" in chosen:
        trials = TRIALS // 10 if quick else TRIALS
        found = false_alarms(audio_folder, rate, trials, 10 if quick else 20)
        extra["alarms"] = asdict(found)
        share = found.alarms / found.trials
        note = (f"{found.alarms} of {found.trials}; highest score {found.highest:.2f}, "
                f"bound there {found.bound_at_highest:.1e}")  # fmt: skip
        met = share <= ALARM_GOAL and found.trials >= TRIALS
        rows.append(Row("false alarms", share, ALARM_GOAL, met, note))
    if "cost" in chosen:
        spent = cost()
        extra["cost"] = spent
        rows.append(Row("CPU time of marking / speaking", spent["share"], COST_GOAL,
                        spent["share"] <= COST_GOAL, f"{spent['marking']:.4f} / {spent['speaking']:.3f} s a second"))  # fmt: skip
    if "dnsmos" in chosen:
        change, error = dnsmos(audio_folder, min(number, 24), rate)
        rows.append(
            Row("DNSMOS lost", -change, DNSMOS_GOAL, -change <= DNSMOS_GOAL, f"± {error:.3f}")
        )
    show(rows)
    if json_path is not None:
        record: dict[str, Any] = {
            "rate": rate, "clips": number, "machine": platform.processor() or platform.machine(),
            "date": time.strftime("%Y-%m-%d"), "cells": CELLS, "rows": [asdict(r) for r in rows], **extra,
        }  # fmt: skip
        json_path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    raise typer.Exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    typer.run(main)
