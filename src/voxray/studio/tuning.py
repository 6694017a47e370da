"""Fine-tuning in the background: `voxray tune` as a process of its own, and what its logs show.

In: recordings, a name, the owner's word on the speaker's consent. Out: `Report`s while it runs; at the
end the tuned model and its voice lie in the models folder, and the consent is on record. One at a time.
"""

from __future__ import annotations

import json
import logging
import math
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread

from ..serve.auth import LOCAL
from ..serve.uploads import SUFFIXES, check
from ..serve.voices import check_name
from ..trust import Refused, consent
from ..voice import Voice
from .settings import Settings
from .strings import Fault
from .uploads import uploaded
from .voices import VOICE_FILE

log = logging.getLogger("voxray.studio")
SAID = "studio.log"
SHOWN_LINES = 12
MOST_POINTS = 300
MOST_FILES = 200
TABLES = (".list", ".tsv", ".txt")
UNSAFE = re.compile(r"[^\w.-]+")
PATIENCE = 10.0  # seconds between asking a run to stop and ending it


@dataclass(frozen=True)
class Wanted:
    """What to learn from, and on whose consent."""

    name: str
    who: str
    recordings: Sequence[str | Path]
    agreed: bool
    transcripts: str | Path | None = None
    language: str = "en"
    minutes: float = 1.0  # of speech to learn from
    limit: float = 18.0  # minutes of computing
    purposes: Sequence[str] = ("personal",)


@dataclass(frozen=True)
class Curve:
    """One number of one part over steps."""

    title: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Report:
    """How it goes: `state` is none, running, done, failed or stopped."""

    name: str = ""
    state: str = "none"
    seconds: float = 0.0
    curves: tuple[Curve, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass
class Job:
    """A run."""

    wanted: Wanted
    folder: Path
    process: subprocess.Popen[bytes]
    since: float = field(default_factory=time.monotonic)
    until: float | None = None
    stopped: bool = False
    state: str = "running"


class Tuner:
    """Starts a run, follows it, ends it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self.job: Job | None = None

    def start(self, wanted: Wanted) -> Report:
        """Begin; refuses while another runs."""
        _check(wanted)
        folder = self._settings.models / wanted.name
        with self._lock:
            if self.job is not None and self.job.state == "running":
                raise Fault("too-many", "tuning-runs")
            if folder.exists():
                raise Fault("voice-exists", "model-exists", name=repr(wanted.name))
            folder.mkdir(parents=True, mode=0o700)
            try:
                arguments = self._laid(wanted, folder)
            except ValueError:
                _empty(folder)
                raise
            self.job = Job(wanted, folder, self._run(arguments, folder))
        Thread(target=self._follow, args=(self.job,), daemon=True).start()
        return self.report()

    def stop(self) -> Report:
        """End the run, if there is one."""
        job = self.job
        if job is not None and job.state == "running":
            job.stopped = True
            job.process.terminate()
            try:
                job.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                job.process.kill()
        return self.report()

    def report(self) -> Report:
        """How it goes."""
        job = self.job
        if job is None:
            return Report()
        seconds = (job.until or time.monotonic()) - job.since
        said = _said(job.folder / SAID)
        return Report(job.wanted.name, job.state, seconds, curves(job.folder), said)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """How `voxray tune` is called: the same Python, no shell."""
        return [sys.executable, "-m", "voxray", "tune", *arguments]

    def _laid(self, wanted: Wanted, folder: Path) -> list[str]:
        """Copies of the recordings under safe names; what to tell the command."""
        home = folder / "recordings"
        home.mkdir()
        for number, source in enumerate(wanted.recordings, start=1):
            data = uploaded(self._settings, source, "recording")
            stem = UNSAFE.sub("_", Path(source).stem).strip(".") or f"clip{number}"
            path = home / f"{stem[:64]}{SUFFIXES.get(data[:4], '.mp3')}"
            if path.exists():
                path = path.with_stem(f"{path.stem}-{number}")
            path.write_bytes(data)
            check(path, self._settings.most_decoded)
        arguments = [
            "--audio", str(home), "--voice", wanted.name, "--output", str(folder),
            "--minutes", str(wanted.minutes), "--limit", str(wanted.limit), "--lang", wanted.language,
        ]  # fmt: skip
        if self._settings.model is not None:
            arguments += ["--model", str(self._settings.model)]
        if wanted.transcripts:
            suffix = Path(wanted.transcripts).suffix.lower()
            if suffix not in TABLES:
                raise Fault("bad-request", "transcripts", kinds=", ".join(TABLES))
            table = folder / f"transcripts{suffix}"
            table.write_bytes(uploaded(self._settings, wanted.transcripts, "transcripts"))
            arguments += ["--transcripts", str(table)]
        return arguments

    def _run(self, arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
        with (folder / SAID).open("wb") as sink:
            return subprocess.Popen(
                self.command(arguments), stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _follow(self, job: Job) -> None:
        """Wait for the end; put the consent on record."""
        code = job.process.wait()
        job.until = time.monotonic()
        path = job.folder / VOICE_FILE
        state = "stopped" if job.stopped else "done" if code == 0 and path.is_file() else "failed"
        if state == "done":
            try:
                voice = Voice.load(path)
                consent.give(voice, job.wanted.who.strip(), purposes=list(job.wanted.purposes),
                             actor=LOCAL.actor)  # fmt: skip
            except (ValueError, OSError) as error:
                log.error("consent to %s not recorded: %s", job.wanted.name, error)
                state = "failed"
        job.state = state


def _check(wanted: Wanted) -> None:
    check_name(wanted.name)
    if not wanted.recordings:
        raise Fault("bad-request", "recording-first")
    if len(wanted.recordings) > MOST_FILES:
        raise Fault("body-too-large", "recordings-many", most=MOST_FILES)
    if not wanted.who.strip() or not wanted.agreed or not wanted.purposes:
        raise Refused(
            "consent-missing",
            "a voice is tuned only with consent: say whose it is, and confirm that they agreed",
        )


def _empty(folder: Path) -> None:
    """Take away what was laid for a run that did not begin."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _said(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-SHOWN_LINES:]


def curves(folder: Path) -> tuple[Curve, ...]:
    """Every number that the parts have logged so far, by part."""
    found: dict[str, list[tuple[int, float]]] = {}
    for part in ("generator", "gpt"):
        for row in _rows(folder / "work" / "run" / part / "log.jsonl"):
            for name, value in row.items():
                if name in ("step", "seconds", "kind") or not isinstance(value, (int, float)):
                    continue
                if math.isfinite(value):
                    title = f"{part}: {name}" + (" (check)" if row["kind"] == "check" else "")
                    found.setdefault(title, []).append((int(row["step"]), float(value)))
    return tuple(Curve(title, _thinned(points)) for title, points in found.items())


def _rows(path: Path) -> list[dict[str, object]]:
    """The whole lines of a log that is being written."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # its end is not written yet
        if isinstance(row, dict) and {"step", "kind"} <= row.keys():
            rows.append(row)
    return rows


def _thinned(points: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    every = max(1, -(-len(points) // MOST_POINTS))
    kept = points[::every]
    return tuple(kept if kept[-1] == points[-1] else [*kept, points[-1]])
