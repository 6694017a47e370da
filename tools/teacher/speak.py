"""Speak a list of jobs with several processes on one GPU until a deadline; needs torch and numpy alone.

    python speak.py --model packed --jobs jobs.jsonl --out spoken --workers 8 --seconds 120

A job is a JSON line `name, symbols, style, prosody` (lists of [voice, weight]), `speed`; more keys do no harm. Worker K
of N takes every N-th job, sorts a chunk by length, predicts durations in padded batches and decodes clips of equal
length together, in random order of length, so that an early end favours neither short nor long clips.
Out: `wave.K.i16` at 24 kHz; `clips.K.jsonl`, a line a clip in the same order (`name, samples, frames`); `report.json`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import command
import numpy as np
import torch
from model import FRAME, RATE, Kokoro, load
from packed import VOICES, Voices, unpack

GRACE = 45  # seconds after the deadline for the batch under way
TOLD = 5  # failures a worker tells in full
FRAMES_PER_SECOND = RATE // FRAME


@dataclass(frozen=True)
class Plan:
    """One run. `quantum`: totals become multiples of this many frames by a longer last silence, so that more
    clips are equally long. `seconds` count from `start` (`time.time()`)."""

    model: Path
    jobs: Path
    out: Path
    start: float
    workers: int = 6
    seconds: float = 120.0
    chunk: int = 1536  # jobs a worker sorts at a time
    encode_batch: int = 32
    batch_seconds: float = 40.0  # audio decoded at once
    quantum: int = 4
    dtype: str = "float32"
    device: str = "cpu"
    raw: Path | None = None

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return time.time() - self.start > self.seconds


@dataclass(frozen=True)
class Ready:
    """A job as the model reads it: ids [P], style [256]."""

    name: str
    ids: list[int]
    style: np.ndarray
    speed: float


@dataclass(frozen=True)
class Timed:
    """A clip whose durations are known: features [P, 640], text [P, 512], frames [P]."""

    name: str
    features: torch.Tensor
    text: torch.Tensor
    frames: np.ndarray
    style: np.ndarray


def batches(clips: list[Timed], most: float) -> list[list[Timed]]:
    """Clips of equal length together, at most `most` seconds a batch; powers of two, since every new shape
    costs planning."""
    groups: dict[int, list[Timed]] = {}
    for clip in clips:
        groups.setdefault(int(clip.frames.sum()), []).append(clip)
    found = []
    for total, items in groups.items():
        size = 1 << max(0, int(most * FRAMES_PER_SECOND / total).bit_length() - 1)
        while items:
            while size > len(items):
                size //= 2
            found.append(items[:size])
            items = items[size:]
    return found


class Worker:
    """One process: its share of the jobs, its two files."""

    def __init__(self, number: int, plan: Plan, model: Kokoro, voices: Voices) -> None:
        self.number, self.plan, self.model, self.voices = number, plan, model, voices
        self.clips = self.samples = self.failed = 0
        self.began = self.told = time.time()
        self.rng = np.random.default_rng(number)

    @torch.inference_mode()
    def run(self, jobs: list[dict]) -> None:
        """Speak until the jobs or the time are at an end."""
        out, k, size = self.plan.out, self.number, self.plan.chunk
        with (
            open(out / f"wave.{k}.i16", "wb") as self.wave,
            open(out / f"clips.{k}.jsonl", "w", encoding="utf-8") as self.lines,
        ):
            for i in range(0, len(jobs), size):
                if self.plan.late():
                    break
                self._chunk(jobs[i : i + size])
        done = {"clips": self.clips, "seconds": self.samples / RATE, "failed": self.failed}
        (out / f"done.{k}.json").write_text(json.dumps(done))

    def _chunk(self, jobs: list[dict]) -> None:
        ready = sorted(filter(None, map(self._read, jobs)), key=lambda job: -len(job.ids))
        timed: list[Timed] = []
        for i in range(0, len(ready), self.plan.encode_batch):
            if self.plan.late():
                return
            timed += self._encode(ready[i : i + self.plan.encode_batch])
        found = batches(timed, self.plan.batch_seconds)
        for i in self.rng.permutation(len(found)):
            if self.plan.late():
                return
            self._decode(found[i])
            self._show()

    def _read(self, job: dict) -> Ready | None:
        try:
            symbols = job["symbols"]
            style = self.voices.style(symbols, job["style"], job["prosody"])
            return Ready(job["name"], self.voices.ids(symbols), style, float(job["speed"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            self._fail(f"job {job.get('name')}: {error!r}")
            return None

    def _encode(self, jobs: list[Ready]) -> list[Timed]:
        """Durations of a batch; one by one where it does not fit."""
        styles = np.stack([job.style for job in jobs])
        speeds = np.array([job.speed for job in jobs], np.float32)
        try:
            features, text, frames = self.model.encode([job.ids for job in jobs], styles, speeds)
        except RuntimeError as error:
            self._free()
            if len(jobs) > 1:
                return [clip for job in jobs for clip in self._encode([job])]
            self._fail(f"durations of {jobs[0].name}: {error}")
            return []
        found = []
        for i, (job, f) in enumerate(zip(jobs, frames, strict=True)):
            f[-1] += -int(f.sum()) % self.plan.quantum
            found.append(Timed(job.name, features[i, : len(f)], text[i, : len(f)], f, job.style))
        return found

    def _decode(self, clips: list[Timed]) -> None:
        """Waves of a batch, written; one by one where it does not fit."""
        frames, styles = [c.frames for c in clips], np.stack([c.style for c in clips])
        try:
            features = torch.nn.utils.rnn.pad_sequence([c.features for c in clips], True)
            text = torch.nn.utils.rnn.pad_sequence([c.text for c in clips], True)
            audio = self.model.decode(features, text, frames, styles)
            finite = torch.isfinite(audio).all(1).cpu().numpy()
            waves = (audio.clamp(-1, 1) * 32767).round().to(torch.int16).cpu().numpy()
        except RuntimeError as error:
            self._free()
            if len(clips) == 1:
                self._fail(f"sound of {clips[0].name}: {error}")
            for clip in clips if len(clips) > 1 else ():
                self._decode([clip])
            return
        for clip, wave, fine in zip(clips, waves, finite, strict=True):
            if fine and wave.size == FRAME * clip.frames.sum():
                self._write(clip, wave)
            else:
                self._fail(f"sound of {clip.name}: not finite, or of another length")

    def _write(self, clip: Timed, wave: np.ndarray) -> None:
        row = {"name": clip.name, "samples": wave.size, "frames": clip.frames.tolist()}
        self.wave.write(wave.astype("<i2").tobytes())
        self.lines.write(json.dumps(row) + "\n")
        self.clips += 1
        self.samples += wave.size
        if self.clips % 50 == 0:  # a killed worker loses no more than these
            self.wave.flush()
            self.lines.flush()

    def _free(self) -> None:
        if self.plan.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _fail(self, what: str) -> None:
        self.failed += 1
        if self.failed <= TOLD:
            print(f"[{self.number}] {what}", flush=True)

    def _show(self) -> None:
        now = time.time()
        if self.number == 0 and now - self.told > 10:
            self.told = now
            pace = self.samples / RATE / (now - self.began)
            print(f"[0] {self.clips} clips, {pace:.3g} s of speech a second, {self.failed} failed")


def work_alone(number: int, plan: Plan) -> None:
    """What a process does: read its jobs, load the model, speak."""
    torch.set_num_threads(1)
    with plan.jobs.open(encoding="utf-8") as file:
        jobs = [json.loads(x) for i, x in enumerate(file) if i % plan.workers == number]
    model = load(plan.model, plan.device, getattr(torch, plan.dtype), plan.raw)
    worker = Worker(number, plan, model, Voices(plan.model))
    print(f"[{number}] {len(jobs)} jobs, ready after {time.time() - plan.start:.1f} s", flush=True)
    worker.run(jobs)


def speak(plan: Plan) -> dict[str, float]:
    """All workers; one that hangs is ended `GRACE` seconds after the deadline. Returns the totals."""
    for old in plan.out.glob("done.*.json"):
        old.unlink()
    context = multiprocessing.get_context("spawn")
    team = [context.Process(target=work_alone, args=(k, plan)) for k in range(plan.workers)]
    for process in team:
        process.start()
    for process in team:
        process.join(max(1.0, plan.start + plan.seconds + GRACE - time.time()))
        if process.is_alive():
            print("a worker did not stop in time and was ended", flush=True)
            process.terminate()
            process.join(5)
    done = [json.loads(f.read_text()) for f in plan.out.glob("done.*.json")]
    total = {key: sum(d[key] for d in done) for key in ("clips", "seconds", "failed")}
    total |= {"workers": len(done), "wall": round(time.time() - plan.start, 1)}
    (plan.out / "report.json").write_text(json.dumps(total))
    return total


def start_mps(folder: str) -> bool:
    """NVIDIA's multi-process service for our processes; False, and no trace, where it does not work."""
    names = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    probe = [sys.executable, "-c", "import torch; torch.ones(9, device='cuda').sum().item()"]
    try:
        for words in (["nvidia-cuda-mps-control", "-d"], probe):
            subprocess.run(
                words, env={**os.environ, **names}, check=True, timeout=60, capture_output=True
            )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no MPS ({error}); going on without", flush=True)
        stop_mps(names)
        return False
    os.environ.update(names)
    return True


def stop_mps(names: dict[str, str]) -> None:
    """End the service that answers in these folders."""
    try:
        subprocess.run(
            ["nvidia-cuda-mps-control"],
            input=b"quit\n", timeout=20, env={**os.environ, **names}, capture_output=True, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return


def work(args: argparse.Namespace) -> None:
    """Unpack the weights once, speak, report."""
    start = time.time()
    options = {k: v for k, v in vars(args).items() if k != "mps"}
    if args.workers < 1 or args.seconds <= 0:
        raise ValueError("--workers and --seconds must be positive")
    for path in (args.jobs, args.model / VOICES):
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(start=start, raw=unpack(args.model, Path(folder) / "weights.raw"), **options)
        print(f"{plan.device}: weights ready after {time.time() - start:.1f} s", flush=True)
        mps = args.mps and args.device.startswith("cuda") and start_mps(folder)
        try:
            total = speak(plan)
        finally:
            if mps:
                stop_mps({})
    print(json.dumps(total), flush=True)
    if not total["clips"]:
        raise ValueError("no clip was spoken: see above, or give more --seconds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder written by pack.py")
    parser.add_argument("--jobs", type=Path, required=True, help="list written by jobs.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=Plan.workers, help="processes on the GPU")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="from the start")
    parser.add_argument("--chunk", type=int, default=Plan.chunk)
    parser.add_argument("--encode-batch", type=int, default=Plan.encode_batch)
    parser.add_argument("--batch-seconds", type=float, default=Plan.batch_seconds)
    parser.add_argument("--quantum", type=int, default=Plan.quantum)
    parser.add_argument("--dtype", default=Plan.dtype, choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--mps", action="store_true", help="try NVIDIA's multi-process service")
    command.run(parser, work)
