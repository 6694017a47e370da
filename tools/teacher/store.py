"""Spoken clips and their jobs -> a prepared corpus that `voxray train` reads; no audio file in between.

    python store.py --jobs jobs.jsonl --spoken spoken --out runs/data --behind runs/people --workers 16

Writes `wave.i16` (all clips at one loudness), `f0.f16` (Hz every 10 ms), `labels.jsonl` (our phonemes with the teacher's
times) and, last, `index.json`. `--behind`: the clips of a store made by `voxray data prepare` come first, with their
labels. A broken-off run leaves no index and is begun again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import command
import numpy as np
import torch

from voxray.audio import speech_gain
from voxray.text import Phoneme, Phonemes
from voxray.train.align import teacher_spans
from voxray.train.label import FRAME, PEOPLE, TEACHER, UNTOLD, WORST_MATCH
from voxray.train.pitch import f0_track
from voxray.train.prepare import LONGEST
from voxray.train.store import RATE, TOKEN, Entry, Store, write_index
from voxray.train.workers import ahead

SHORTEST = 0.5  # seconds; a teacher's clip of one word is short, but whole
COLUMNS = {"name", "speaker", "language", "text", "split", "symbols", "ids", "items"}
SECONDS_PER_FRAME = 0.025
LABELS = (TEACHER, PEOPLE, UNTOLD)


@dataclass(frozen=True)
class Spoken:
    """A clip as `speak.py` left it: where its samples lie, frames of its symbols, its job."""

    path: Path
    start: int
    samples: int
    frames: list[int]
    job: dict


@dataclass(frozen=True)
class Kept:
    """A clip as the store keeps it: int16 [N], N a multiple of 960; F0 [N / 240]; spans [P, 2] of 20 ms."""

    wave: np.ndarray
    f0: np.ndarray
    spans: np.ndarray | None


def read_jobs(path: Path) -> dict[str, dict]:
    """Jobs by name; ValueError where they lack what a label needs."""
    with path.open(encoding="utf-8") as file:
        jobs = {job["name"]: job for job in map(json.loads, file)}
    for job in jobs.values():
        if missing := COLUMNS - job.keys():
            raise ValueError(f"{path}: {job['name']} lacks {', '.join(sorted(missing))}")
    return jobs


def read_spoken(folder: Path, jobs: dict[str, dict]) -> Iterator[Spoken]:
    """Whole clips of all workers; a killed worker's last lines or samples may be missing."""
    for lines in sorted(folder.glob("clips.*.jsonl")):
        waves = folder / lines.name.replace("clips.", "wave.").replace(".jsonl", ".i16")
        size, at = waves.stat().st_size // 2, 0
        for line in lines.read_text(encoding="utf-8").splitlines():
            try:
                clip = json.loads(line)
            except json.JSONDecodeError:
                break
            if at + clip["samples"] > size:
                break
            if clip["name"] in jobs:
                job = jobs[clip["name"]]
                yield Spoken(waves, at, clip["samples"], clip["frames"], job)
            at += clip["samples"]


def keep(clip: Spoken) -> Kept | None:
    """Loudness, F0 and phoneme times of a clip; None where it is too short, too long or silent."""
    torch.set_num_threads(1)
    wave = np.fromfile(clip.path, "<i2", clip.samples, offset=2 * clip.start)
    wave = wave.astype(np.float32) / 32768
    if not SHORTEST <= len(wave) / RATE <= LONGEST or not wave.any():
        return None
    padded = np.zeros(-(-len(wave) // TOKEN) * TOKEN, np.float32)
    padded[: len(wave)] = wave * speech_gain(wave)
    stored = (np.clip(padded, -1, 1) * 32767).astype("<i2")
    seconds = tuple(frames * SECONDS_PER_FRAME for frames in clip.frames)
    job = clip.job
    spans, quality = teacher_spans(_phonemes(job), job["symbols"], seconds, len(stored) // FRAME)
    f0 = f0_track(stored.astype(np.float32) / 32768).astype("<f2")
    return Kept(stored, f0, spans if quality >= WORST_MATCH else None)


def _phonemes(job: dict) -> Phonemes:
    items = zip(job["items"], job["ids"], strict=True)
    found = (Phoneme(symbol, i, -1, 0, 0, language, "") for (symbol, language), i in items)
    return Phonemes(job["text"], job["text"], tuple(found), ())


def build(jobs: Path, spoken: Path, out: Path, behind: Path | None, workers: int) -> Counter[str]:
    """Fill `out`; returns counts of clips and samples."""
    if (out / "index.json").exists():
        raise ValueError(f"{out} already holds a corpus; name a new folder")
    clips = list(read_spoken(spoken, read_jobs(jobs)))
    if not clips:
        raise ValueError(f"no clip in {spoken} has its job in {jobs}")
    out.mkdir(parents=True, exist_ok=True)
    entries = begin(out, behind)
    known = {entry.name for entry in entries}
    if twice := next((c.job["name"] for c in clips if c.job["name"] in known), None):
        raise ValueError(f"{twice} is in {behind} already; jobs.py --seed gives other names")
    report, position = Counter(behind=len(entries)), sum(e.samples for e in entries)
    with (
        (out / "wave.i16").open("ab") as waves,
        (out / "f0.f16").open("ab") as pitch,
        (out / "labels.jsonl").open("a", encoding="utf-8") as labels,
    ):
        for clip, kept in zip(clips, ahead(keep, clips, workers), strict=True):
            if kept is None:
                report["dropped"] += 1
                continue
            waves.write(kept.wave.tobytes())
            pitch.write(kept.f0.tobytes())
            if kept.spans is not None:
                row = {"ids": clip.job["ids"], "spans": kept.spans.tolist()}
                labels.write(json.dumps({"name": clip.job["name"], **row}) + "\n")
            report["kept" if kept.spans is not None else "kept without times"] += 1
            entries.append(entry_of(clip.job, position, len(kept.wave)))
            position += len(kept.wave)
    write_index(out, entries)
    report["samples"] = position
    return report


def begin(out: Path, behind: Path | None) -> list[Entry]:
    """Empty files, or those of the store that comes first; returns its clips, in order, without gaps."""
    for name in ("wave.i16", "f0.f16", *LABELS):
        (out / name).unlink(missing_ok=True)
    if behind is None:
        return []
    store, entries, position = Store(behind), [], 0
    tracks = store.array("f0.f16", "float16", 240) if _has_pitch(store) else None
    with (out / "wave.i16").open("wb") as waves, (out / "f0.f16").open("wb") as pitch:
        for entry in store.entries:
            waves.write(store.wave[entry.start : entry.start + entry.samples].tobytes())
            first = entry.start // 240
            track = (
                f0_track(store.audio(entry))
                if tracks is None
                else tracks[first:][: entry.samples // 240]
            )
            pitch.write(track.astype("<f2").tobytes())
            entries.append(replace(entry, start=position))
            position += entry.samples
    for name in LABELS:
        if (behind / name).exists():
            shutil.copyfile(behind / name, out / name)
    return entries


def _has_pitch(store: Store) -> bool:
    return store.whole("f0.f16", "float16", 240)


def entry_of(job: dict, start: int, samples: int) -> Entry:
    """The index's row; the speaker is the mix of voices, whose sound ends at 12 kHz."""
    who = "generated/" + job["speaker"]
    facts = (job["language"], job["text"], job["split"], RATE // 2, True)
    return Entry(job["name"], who, *facts, start, samples)


def work(args: argparse.Namespace) -> None:
    """Build and tell what was kept."""
    report = build(args.jobs, args.spoken, args.out, args.behind, args.workers)
    hours = report.pop("samples") / RATE / 3600
    print(", ".join(f"{count} {what}" for what, count in report.items()), f"= {hours:.2f} h")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=Path, required=True, help="list written by jobs.py")
    parser.add_argument("--spoken", type=Path, required=True, help="folder written by speak.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--behind", type=Path, help="a store whose clips come first")
    parser.add_argument("--workers", type=int, default=1)
    command.run(parser, work)
