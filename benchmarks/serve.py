"""The service under load: throughput of 8 clients, first audio, mixed voices, kill -9; goal beside figure.

    python benchmarks/serve.py --quick
    python benchmarks/serve.py --requests 1000 --soak 30 --json out.json

Starts `voxray serve --local` on loopback with records of its own. Throughput is sound per second, 8
clients at once against one at a time. A voice is mixed up where a response is not the one that the
same voice, text and seed gave alone (correlation below 0.9: only the mark may differ). After
kill -9 under load the audit log is read. Run it on a quiet machine. Exit code 1: a goal was missed.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from quality import RESULTS, facts_of_run

from voxray.evaluate import report

CLIENTS = 8
TEXTS = ("The tide comes in twice a day.", "She keeps her old letters in a wooden box.")
VOICES = ("nova", "george", "michael")
SAME = 0.9
RATE = 24_000
GOALS = {  # figure -> (goal, whether more is better)
    "throughput, 8 clients / one": (2.0, True),
    "mixed-up responses": (0.0, False),
    "faults in the audit log after kill -9": (0.0, False),
    "growth of memory in the soak [%]": (5.0, False),
}


@dataclass(frozen=True)
class Answer:
    """One response; times in seconds."""

    which: tuple[str, str]  # voice, text
    status: int
    sound: np.ndarray  # int16 [N]
    first: float


class Server:
    """A service in a process of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "voxray", "serve", "--local", "--port", str(self.port)]
        environment = {**os.environ, "VOXRAY_HOME": str(home)}
        self.log = (home / "serve.log").open("wb")
        self.process = subprocess.Popen(command, env=environment, stderr=self.log)
        deadline = time.monotonic() + 300
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"the service did not start; see {home / 'serve.log'}")
            time.sleep(0.2)

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def memory(self) -> float:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return 1024.0 * int(line.split()[1])

    def ask(self, which: tuple[str, str]) -> Answer:
        """One request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        wanted = {"voice": which[0], "input": which[1], "seed": 1, "response_format": "pcm"}
        began = time.perf_counter()
        try:
            connection.request(
                "POST", "/v1/audio/speech", json.dumps(wanted), {"Content-Type": "application/json"}
            )
            told = connection.getresponse()
            begin = told.read(2)
            first = time.perf_counter() - began
            return Answer(which, told.status, np.frombuffer(begin + told.read(), "<i2"), first)
        finally:
            connection.close()

    def end(self, number: int = signal.SIGINT) -> None:
        """Stop it."""
        self.process.send_signal(number)
        self.process.wait(60)
        self.log.close()


def timed(
    server: Server, work: Sequence[tuple[str, str]], clients: int
) -> tuple[list[Answer], float]:
    """Answers, and seconds of sound a second."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(server.ask, work))
    spent = time.perf_counter() - began
    refused = [answer.status for answer in answers if answer.status != 200]
    if refused:
        raise ValueError(f"{len(refused)} of {len(answers)} requests were answered {refused[0]}")
    return answers, sum(len(answer.sound) for answer in answers) / RATE / spent


def mixed(answers: Sequence[Answer], alone: dict[tuple[str, str], np.ndarray]) -> int:
    """How many are not what the same request gave alone."""
    return sum(not _same(answer.sound, alone[answer.which]) for answer in answers)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if len(a) != len(b):
        return False
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(x @ y) >= SAME * float(np.linalg.norm(x) * np.linalg.norm(y))


def killed(server: Server, home: Path, work: Sequence[tuple[str, str]]) -> int:
    """Kill the service under load; how many faults the audit log then has."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(server.ask, which) for which in work]
        time.sleep(2.0)
        server.end(signal.SIGKILL)
        for future in waiting:
            future.exception()
    from voxray import trust
    from voxray.trust import audit

    trust.use(home / "trust")
    return len(audit.verify().faults)


def soak(server: Server, minutes: float) -> float:
    """Growth of memory in per cent, after a tenth of the time."""
    began, first = time.monotonic(), 0.0
    while time.monotonic() - began < 60 * minutes:
        timed(server, [(voice, text) for voice in VOICES for text in TEXTS], CLIENTS)
        if not first and time.monotonic() - began > 6 * minutes:
            first = server.memory()
    return 100 * (server.memory() / (first or server.memory()) - 1)


def main(
    requests: Annotated[int, typer.Option(help="Requests in parallel, in all.")] = 1000,
    soak_minutes: Annotated[float, typer.Option("--soak", help="Minutes.")] = 30.0,
    quick: Annotated[bool, typer.Option("--quick", help="24 requests, no soak.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
) -> None:
    """Measure."""
    requests, soak_minutes = (24, 0.0) if quick else (requests, soak_minutes)
    kinds = [(voice, text) for voice in VOICES for text in TEXTS]
    work = [kinds[n % len(kinds)] for n in range(requests)]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="voxray-serve-") as folder:
        home = Path(folder)
        server = Server(home)
        try:
            timed(server, kinds[:1], 1)
            single, one = timed(server, kinds, 1)
            alone = {answer.which: answer.sound for answer in single}
            many, together = timed(server, work, CLIENTS)
            figures["throughput, 8 clients / one"] = together / one
            figures["mixed-up responses"] = mixed(many, alone)
            first = sorted(answer.first for answer in many)
            figures["first audio, one client, median [s]"] = statistics.median(
                a.first for a in single
            )
            figures["first audio, 8 clients, median [s]"] = statistics.median(first)
            figures["first audio, 8 clients, p95 [s]"] = first[int(0.95 * (len(first) - 1))]
            if soak_minutes:
                figures["growth of memory in the soak [%]"] = soak(server, soak_minutes)
            figures["faults in the audit log after kill -9"] = killed(server, home, work[:CLIENTS])
        finally:
            if server.process.poll() is None:
                server.end(signal.SIGKILL)
    _tell(figures, quick, out)


def _tell(figures: dict[str, float], quick: bool, out: Path | None) -> None:
    rows, missed = ["| measure | figure | goal | met |", "|---|---|---|---|"], 0
    for name, value in figures.items():
        goal, more = GOALS.get(name, (None, False))
        met = goal is None or (value >= goal if more else value <= goal)
        missed += not met
        wanted = "" if goal is None else f"{'>=' if more else '<='} {goal:g}"
        rows.append(
            f"| {name} | {value:.3g} | {wanted} | {'' if goal is None else 'yes' if met else '**no**'} |"
        )
    table = "\n".join(rows)
    print(table)
    facts: dict[str, Any] = {key: value for key, value in facts_of_run().items() if key != "judges"}
    if not quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        page = report.page("The service under load", facts, {"Figures": table})
        (RESULTS / "serve.md").write_text(page, encoding="utf-8")
    if out is not None:
        out.write_text(json.dumps({"facts": facts, "figures": figures}, indent=1), encoding="utf-8")
    if missed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
