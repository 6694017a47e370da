"""The service under load: throughput of 8 clients, first audio, mixed voices, kill -9; goal beside figure.

    python benchmarks/serve.py --quick
    python benchmarks/serve.py --requests 1000 --soak 30 --json out.json

Starts `voxray serve --local` on loopback with records of its own. Throughput is sound per second, 8
clients at once against one at a time. Then a crowd of 64 asks, coming back when told to: a voice is
mixed up where a response is not the one that the same voice, text and seed gave alone (another length,
or correlation below 0.9: only the mark may differ). After kill -9 under load the audit log is read: no
faults, and a line for everything of which a client heard so much as a sample. Voices are the first
built-in ones, whichever these are. Run it on a quiet machine. Exit code 1: a goal was missed.
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
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from quality import RESULTS, facts_of_run

from voxray.evaluate import report
from voxray.voice import Voice, builtin_names

CLIENTS, CROWD = 8, 64
TEXTS = ("The tide comes in twice a day.", "She keeps her old letters in a wooden box.")
SOAK_SAMPLES = 10  # the first tenth of a soak is warming up
SAME = 0.9
RATE = 24_000
GOALS = {  # figure -> (goal, whether more is better)
    "throughput, 8 clients / one": (2.0, True),
    "mixed-up responses": (0.0, False),
    "faults in the audit log after kill -9": (0.0, False),
    "answers without a line in the audit log": (0.0, False),
    "growth of memory in the soak [%]": (5.0, False),
}


@dataclass(frozen=True)
class Answer:
    """One response; times in seconds."""

    which: tuple[str, str]  # voice, text
    status: int
    sound: np.ndarray  # int16 [N]
    first: float
    retry_after: float


def request(which: tuple[str, str]) -> tuple[str, dict[str, str]]:
    """Body and headers."""
    wanted = {"voice": which[0], "input": which[1], "seed": 1, "response_format": "pcm"}
    return json.dumps(wanted), {"Content-Type": "application/json"}


class Server:
    """A service in a process of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "voxray", "serve", "--local", "--open-metrics"]
        command += ["--port", str(self.port)]
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
        began = time.perf_counter()
        try:
            connection.request("POST", "/v1/audio/speech", *request(which))
            told = connection.getresponse()
            begin = told.read(2)
            first = time.perf_counter() - began
            data = begin + told.read()
            if told.status != 200:
                data = b""
            wait = float(told.headers.get("Retry-After", 1))
            return Answer(which, told.status, np.frombuffer(data, "<i2"), first, wait)
        finally:
            connection.close()

    def asked_again(self, which: tuple[str, str]) -> Answer:
        """The same, coming back when told to."""
        for _ in range(1000):
            answer = self.ask(which)
            if answer.status != 429:
                return answer
            time.sleep(answer.retry_after)
        raise ValueError("told 1000 times to come back")

    def tokens_a_pass(self) -> tuple[float, float]:
        """Tokens and shared passes of the GPT so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as told:
            lines = told.read().decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return float(values["voxray_tokens_total"]), float(values["voxray_token_passes_total"])

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
        answers = list(pool.map(server.asked_again, work))
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


def killed(
    server: Server, home: Path, work: Sequence[tuple[str, str]], answered: int
) -> tuple[int, int]:
    """Kill the service under load: faults of the audit log, and answers of which it knows nothing."""
    heard: list[int] = []

    def hear(which: tuple[str, str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            connection.request("POST", "/v1/audio/speech", *request(which))
            told = connection.getresponse()
            if told.status == 200 and told.read(2):
                heard.append(1)
                told.read()
        finally:
            connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(hear, which) for which in work]
        deadline = time.monotonic() + 60
        while len(heard) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.end(signal.SIGKILL)
        for future in waiting:
            future.exception()
    from voxray import trust
    from voxray.trust import audit, records

    trust.use(home / "trust")
    known = len(records.latest(10_000_000))
    return len(audit.verify().faults), max(0, answered + len(heard) - known)


def soak(server: Server, work: Sequence[tuple[str, str]], minutes: float) -> tuple[float, int]:
    """Growth of memory in per cent since a tenth of the time was over; requests answered."""
    began, first, answered = time.monotonic(), 0.0, 0
    while time.monotonic() - began < 60 * minutes:
        answered += len(timed(server, work, CLIENTS)[0])
        if not first and time.monotonic() - began > 60 * minutes / SOAK_SAMPLES:
            first = server.memory()
    return 100 * (server.memory() / (first or server.memory()) - 1), answered


def voices() -> list[str]:
    """Three built-in voices, those that read English first."""
    names = sorted(builtin_names(), key=lambda name: Voice.builtin(name).language != "en")
    return names[:3]


def measure(server: Server, home: Path, requests: int, soak_minutes: float) -> dict[str, float]:
    """All figures."""
    kinds = [(voice, text) for voice in voices() for text in TEXTS]
    work = [kinds[n % len(kinds)] for n in range(requests)]
    some = work[: 6 * CLIENTS]
    timed(server, kinds[:1], 1)
    single, one = timed(server, [*kinds, *kinds], 1)
    alone = {answer.which: answer.sound for answer in single}
    before = server.tokens_a_pass()
    many, together = timed(server, some, CLIENTS)
    tokens, passes = (b - a for a, b in zip(before, server.tokens_a_pass(), strict=True))
    crowd, _ = timed(server, work, CROWD)
    first = sorted(answer.first for answer in many)
    figures = {
        "throughput, 8 clients / one": together / one,
        "sound a second, one client [s]": one,
        "sound a second, 8 clients [s]": together,
        "tokens a pass of the GPT, 8 clients": tokens / max(1.0, passes),
        "mixed-up responses": mixed([*many, *crowd], alone),
        "first audio, one client, median [s]": statistics.median(a.first for a in single),
        "first audio, 8 clients, median [s]": statistics.median(first),
        "first audio, 8 clients, p95 [s]": first[int(0.95 * (len(first) - 1))],
    }
    answered = 1 + len(single) + len(many) + len(crowd)
    if soak_minutes:
        grown, more = soak(server, kinds, soak_minutes)
        figures["growth of memory in the soak [%]"], answered = grown, answered + more
    faults, unknown = killed(server, home, work[:CLIENTS], answered)
    figures["faults in the audit log after kill -9"] = faults
    figures["answers without a line in the audit log"] = unknown
    return figures


def main(
    requests: Annotated[int, typer.Option(help="Requests in parallel, in all.")] = 1000,
    soak_minutes: Annotated[float, typer.Option("--soak", help="Minutes.")] = 30.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="24 requests, half a minute of soak.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
) -> None:
    """Measure."""
    requests, soak_minutes = (24, 0.5) if quick else (requests, soak_minutes)
    with tempfile.TemporaryDirectory(prefix="voxray-serve-") as folder:
        home = Path(folder)
        server = Server(home)
        try:
            figures = measure(server, home, requests, soak_minutes)
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
