"""The service under load: throughput of 8 clients, mixed voices, memory, kill -9; goal beside figure.

    python benchmarks/serve.py --quick
    python benchmarks/serve.py --requests 1000 --soak 30 --json out.json
    python benchmarks/serve.py --parts load          # the timed part alone, on a quiet machine

Parts. `load`: sound per second, 8 clients at once against one at a time, and first audio. `mixed`: a
crowd of 64 asks, coming back when told to; a voice is mixed up where a response is not the one that the
same voice, text and seed gave alone (another length, or correlation below 0.9: only the mark may
differ). `soak`: 8 clients for minutes (`--pace`: a request every so many seconds), every other text of
another length. Growth is the resident memory at the end over that after the warming-up; a look may meet
eight requests or none, so the median of the last tenth over that of the tenth after warming up stands
beside it. `kill`: after kill -9 under load the audit log is read: no faults, and a line for everything
of which a client heard so much as a sample.

Voices are the first built-in ones, whichever these are. The table has a section a part; a run writes
its own anew and leaves the others as they were. Exit code 1: a goal was missed.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from quality import RESULTS, facts_of_run
from serve_server import Server, Which, request, timed

from voxray.evaluate import report
from voxray.voice import Voice, builtin_names

CLIENTS, CROWD = 8, 64
TEXTS = ("The tide comes in twice a day.", "She keeps her old letters in a wooden box.")
PASSAGE = (
    "The tide comes in twice a day and she keeps her old letters in a wooden box under the stairs where"
    " nobody looks while the rain falls on the harbour and the last boat is late"
)
SAMPLED = 30.0  # seconds between two looks at the memory
WARMING = 0.1  # share of a soak that is warming up
SAME = 0.9
LISTENERS, LOADED = (1, 5, 10, 50, 200), 0.7  # for the sizes; a machine is filled to that share
REFUSED = "answers with another status than 200"
PARTS = {  # part -> its heading in the table
    "load": "Throughput and first audio",
    "mixed": "Mixed-up voices",
    "soak": "Memory",
    "kill": "kill -9",
}
GOALS = {  # figure -> (goal, whether more is better)
    "throughput, 8 clients / one": (2.0, True),
    REFUSED: (0.0, False),
    "mixed-up responses": (0.0, False),
    "faults in the audit log after kill -9": (0.0, False),
    "answers without a line in the audit log": (0.0, False),
    "growth of memory in the soak [%]": (5.0, False),
    "growth, medians of a tenth [%]": (5.0, False),
}
Figures = dict[str, float]


@dataclass
class Run:
    """What is asked for, and the memory as it was: (seconds, answers, MB)."""

    parts: tuple[str, ...] = tuple(PARTS)
    requests: int = 1000
    minutes: float = 30.0
    pace: float = 0.0
    curve: list[tuple[float, int, float]] = field(default_factory=list)


def load(_run: Run, server: Server) -> Figures:
    """Eight clients at once against one at a time."""
    kinds = asked()
    timed(server, kinds[:1], 1)
    single, one = timed(server, [*kinds, *kinds], 1)
    before = server.tokens_a_pass()
    many, together = timed(server, [kinds[n % len(kinds)] for n in range(6 * CLIENTS)], CLIENTS)
    tokens, passes = (b - a for a, b in zip(before, server.tokens_a_pass(), strict=True))
    first = sorted(answer.first for answer in many)
    return {
        "throughput, 8 clients / one": together / one,
        "sound a second, one client [s]": one,
        "sound a second, 8 clients [s]": together,
        "tokens a pass of the GPT, 8 clients": tokens / max(1.0, passes),
        "first audio, one client, median [s]": statistics.median(a.first for a in single),
        "first audio, 8 clients, median [s]": statistics.median(first),
        "first audio, 8 clients, p95 [s]": first[int(0.95 * (len(first) - 1))],
    }


def mixed(run: Run, server: Server) -> Figures:
    """A crowd: how many answers are not what the same request gives alone."""
    kinds = asked()
    alone = {answer.which: answer.sound for answer in timed(server, kinds, 1)[0]}
    with ThreadPoolExecutor(CROWD) as pool:
        work = [kinds[n % len(kinds)] for n in range(run.requests)]
        crowd = list(pool.map(server.asked_again, work))
    heard = [answer for answer in crowd if answer.status == 200]
    return {
        "requests in parallel": len(crowd),
        REFUSED: len(crowd) - len(heard),
        "mixed-up responses": sum(not _same(a.sound, alone[a.which]) for a in heard),
    }


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if len(a) != len(b):
        return False
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(x @ y) >= SAME * float(np.linalg.norm(x) * np.linalg.norm(y))


def soak(run: Run, server: Server) -> Figures:
    """Memory over minutes of requests."""
    began, length = time.monotonic(), 60 * run.minutes
    over, statuses = threading.Event(), Counter[int]()
    before = len(server.answered)

    def client(number: int) -> None:
        turn = number
        while not over.wait(max(0.0, began + turn * run.pace - time.monotonic())):
            statuses[server.asked_again(soaking(turn)).status] += 1
            turn += CLIENTS

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        try:
            for moment in moments(length):
                time.sleep(max(0.0, began + moment - time.monotonic()))
                counted = len(server.answered) - before
                run.curve.append((round(moment, 2), counted, round(server.memory() / 1e6, 1)))
        finally:
            over.set()
        for each in clients:
            each.result()
    warm = next(point for point in run.curve if point[0] > WARMING * length - 0.01)
    return {
        "minutes": run.minutes,
        "requests": statuses.total(),
        REFUSED: statuses.total() - statuses[200],
        "memory at the start [MB]": run.curve[0][2],
        "memory after warming up [MB]": warm[2],
        "most memory after that [MB]": max(p[2] for p in run.curve if p[0] >= warm[0]),
        "memory at the end [MB]": run.curve[-1][2],
        "growth of memory in the soak [%]": 100 * (run.curve[-1][2] / warm[2] - 1),
        "growth, medians of a tenth [%]": 100
        * (middle(run, 1 - WARMING, 1) / middle(run, WARMING, 2 * WARMING) - 1),
    }


def middle(run: Run, begin: float, end: float) -> float:
    """The median memory [MB] of a part of the soak, its bounds as shares of the whole."""
    length = run.curve[-1][0]
    return statistics.median(
        mb for s, _, mb in run.curve if begin * length - 0.01 <= s <= end * length + 0.01
    )


def soaking(turn: int) -> Which:
    """What the soak asks for: the known texts, and in between some of 3 to 36 words."""
    kinds, words = asked(), PASSAGE.split()
    voice, text = kinds[turn // 2 % len(kinds)]
    if turn % 2:
        text = " ".join(words[: 3 + 7 * (turn // 2) % (len(words) - 2)]) + "."
    return voice, text


def moments(length: float) -> list[float]:
    """When memory is looked at: from 0 to `length` seconds, the warming-up's end among them."""
    step = min(SAMPLED, WARMING * length)
    return [*np.arange(0.0, length - step / 2, step), length]


def killed(server: Server) -> Figures:
    """Kill the service under load: faults of the audit log, and answers of which it knows nothing."""
    kinds = asked()

    def hear(which: Which) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            connection.request("POST", "/v1/audio/speech", *request(which))
            told = connection.getresponse()
            if told.status == 200 and told.read(2):
                server.answered.append(1)
                told.read()
        finally:
            connection.close()

    heard = len(server.answered) + 2
    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(hear, kinds[n % len(kinds)]) for n in range(CLIENTS)]
        deadline = time.monotonic() + 60
        while len(server.answered) < heard and time.monotonic() < deadline:
            time.sleep(0.01)
        server.end(signal.SIGKILL)
        for future in waiting:
            future.exception()
    from voxray import trust
    from voxray.trust import audit, records

    trust.use(server.home / "trust")
    known = len(records.latest(10_000_000))
    return {
        "answers before the end": len(server.answered),
        "faults in the audit log after kill -9": len(audit.verify().faults),
        "answers without a line in the audit log": max(0, len(server.answered) - known),
    }


@cache
def asked() -> list[Which]:
    """Three built-in voices, those that read English first, with each text."""
    names = sorted(builtin_names(), key=lambda name: Voice.builtin(name).language != "en")
    return [(name, text) for name in names[:3] for text in TEXTS]


def measure(run: Run, server: Server) -> dict[str, Figures]:
    """Figures of every part that is asked for."""
    ways: dict[str, Callable[[Server], Figures]] = {
        "load": partial(load, run), "mixed": partial(mixed, run), "soak": partial(soak, run),
        "kill": killed,
    }  # fmt: skip
    return {name: ways[name](server) for name in PARTS if name in run.parts}


def main(
    requests: Annotated[int, typer.Option(help="Requests in parallel, in all.")] = 1000,
    soak_minutes: Annotated[float, typer.Option("--soak", help="Minutes.")] = 30.0,
    pace: Annotated[
        float, typer.Option(help="Seconds between two requests of the soak; 0: no rest.")
    ] = 0.0,
    parts: Annotated[str, typer.Option(help="Any of load,mixed,soak,kill.")] = ",".join(PARTS),
    note: Annotated[str, typer.Option(help="A line for the table.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="24 requests, half a minute of soak.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
) -> None:
    """Measure."""
    requests, soak_minutes = (24, 0.5) if quick else (requests, soak_minutes)
    run = Run(checked(parts), requests, soak_minutes, pace)
    with tempfile.TemporaryDirectory(prefix="voxray-serve-") as folder:
        server = Server(Path(folder))
        try:
            figures = measure(run, server)
        finally:
            if server.process.poll() is None:
                server.end(signal.SIGKILL)
    facts: dict[str, Any] = {key: value for key, value in facts_of_run().items() if key != "judges"}
    if note:
        facts["note"] = note
    if out is not None:
        told = {"facts": facts, "figures": figures, "memory [s, answers, MB]": run.curve}
        out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    tables = {PARTS[name]: table(values) for name, values in figures.items()}
    if "load" in figures:
        tables[PARTS["load"]] += f"\n\n{sizing(figures['load'])}"
    if run.curve:
        tables[PARTS["soak"]] += f"\n\n{course(run.curve)}"
    print("\n\n".join(f"{heading}\n\n{made}" for heading, made in tables.items()))
    if not quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        page = RESULTS / "serve.md"
        page.write_text(renewed(page, facts, tables), encoding="utf-8")
    if any("**no**" in made for made in tables.values()):
        raise typer.Exit(1)


def checked(parts: str) -> tuple[str, ...]:
    """The parts' names, or what is wrong with them."""
    chosen = tuple(part.strip() for part in parts.split(",") if part.strip())
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown or not chosen:
        raise typer.BadParameter(f"{', '.join(unknown) or 'none'}: choose from {', '.join(PARTS)}")
    return chosen


def table(figures: Figures) -> str:
    """Figures beside their goals, as Markdown."""
    rows = ["| measure | figure | goal | met |", "|---|---|---|---|"]
    for name, value in figures.items():
        goal, more = GOALS.get(name, (None, False))
        if goal is None:
            rows.append(f"| {name} | {_short(value)} |  |  |")
            continue
        met = "yes" if (value >= goal if more else value <= goal) else "**no**"
        rows.append(f"| {name} | {_short(value)} | {'>=' if more else '<='} {goal:g} | {met} |")
    return "\n".join(rows)


def sizing(figures: Figures) -> str:
    """How many machines like this one so many listeners need, each hearing speech as it is made."""
    sound = figures["sound a second, 8 clients [s]"]
    rows = ["| listeners at once | machines like this one |", "|---|---|"]
    for listeners in LISTENERS:
        rows.append(f"| {listeners} | {math.ceil(listeners / (LOADED * sound))} |")
    return "\n".join(rows)


def course(curve: list[tuple[float, int, float]]) -> str:
    """The memory every tenth of the time, as a line."""
    some = [curve[round(n * (len(curve) - 1) / 10)] for n in range(11)]
    return (
        "Memory [MB] at minute " + ", ".join(f"{s / 60:.3g}: {mb:.0f}" for s, _, mb in some) + "."
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def renewed(page: Path, facts: dict[str, str], tables: dict[str, str]) -> str:
    """The page with the sections of this run in place of those of the same parts."""
    old = page.read_text(encoding="utf-8") if page.is_file() else ""
    kept = dict(re.findall(r"^## (.+?)\n\n(.*?)\n*(?=^## |\Z)", old, re.MULTILINE | re.DOTALL))
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    sections = {heading: f"{told}\n\n{made}" for heading, made in tables.items()}
    bodies = {h: sections.get(h, kept.get(h)) for h in PARTS.values()}
    present = {heading: body for heading, body in bodies.items() if body is not None}
    return report.page("The service under load", {"parts": "each with its own command"}, present)


if __name__ == "__main__":
    typer.run(main)
