"""A service in a process of its own, and the clients that ask it: what `benchmarks/serve.py` measures.

    server = Server(folder); answer = server.asked_again((voice, text)); server.end()

`voxray serve --local` on loopback with records of its own in `folder`. An answer is 16-bit sound with
the seconds to its first sample; who is told to come back (429) comes back then.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE = 24_000
STARTING = 1800.0  # seconds; half a minute where nothing else runs
Which = tuple[str, str]  # voice, text


@dataclass(frozen=True)
class Answer:
    """One response; times in seconds."""

    which: Which
    status: int
    sound: np.ndarray  # int16 [N]
    first: float
    retry_after: float


def request(which: Which) -> tuple[str, dict[str, str]]:
    """Body and headers."""
    wanted = {"voice": which[0], "input": which[1], "seed": 1, "response_format": "pcm"}
    return json.dumps(wanted), {"Content-Type": "application/json"}


class Server:
    """A service in a process of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.answered: list[int] = []  # one entry an answer: appending is safe among threads
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "voxray", "serve", "--local", "--open-metrics"]
        command += ["--port", str(self.port)]
        environment = {**os.environ, "VOXRAY_HOME": str(home)}
        self.log = (home / "serve.log").open("wb")
        self.process = subprocess.Popen(command, env=environment, stderr=self.log)
        deadline = time.monotonic() + STARTING
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
        line = next((line for line in status.splitlines() if line.startswith("VmRSS")), "")
        if not line:
            raise OSError(f"the service has ended; see {self.home / 'serve.log'}")
        return 1024.0 * int(line.split()[1])

    def ask(self, which: Which) -> Answer:
        """One request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        began = time.perf_counter()
        try:
            connection.request("POST", "/v1/audio/speech", *request(which))
            told = connection.getresponse()
            begin = told.read(2)
            first = time.perf_counter() - began
            if told.status == 200 and begin:
                self.answered.append(1)
            data = begin + told.read()
            if told.status != 200:
                data = b""
            wait = float(told.headers.get("Retry-After", 1))
            return Answer(which, told.status, np.frombuffer(data, "<i2"), first, wait)
        finally:
            connection.close()

    def asked_again(self, which: Which) -> Answer:
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


def timed(server: Server, work: Sequence[Which], clients: int) -> tuple[list[Answer], float]:
    """Answers, and seconds of sound a second."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(server.asked_again, work))
    spent = time.perf_counter() - began
    refused = [answer.status for answer in answers if answer.status != 200]
    if refused:
        raise ValueError(f"{len(refused)} of {len(answers)} requests were answered {refused[0]}")
    return answers, sum(len(answer.sound) for answer in answers) / RATE / spent
