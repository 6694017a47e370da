"""Throws mutated checkpoints at the reader of foreign files, and watches what it does.

    python benchmarks/fuzz_reader.py --minutes 10 [--quick] [--json OUT] [--seed N] [--keep DIR]

Good and hostile files, made on the spot and (where they are at hand) the recorded containers of
../shared/parity, are changed at random: raw bytes, the pickle behind right checksums, records of
one file put into another, records dropped, doubled or renamed, tags exchanged. Each is read and
identified. Goals: no exception but ForeignFileError and OSError (crashes 0), nothing run (0) and
no file written (0), seen by Python's audit events and by a marker file that the hostile ones
would create; exit status 1 where one is missed. --quick takes 20 seconds. Files that missed a goal
are kept in the folder named by --keep.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "convert"))

import made  # noqa: E402

from voxray.convert.detect import identify  # noqa: E402
from voxray.convert.reader import TAGS, ForeignFileError, read  # noqa: E402

PARITY = Path(os.environ.get("VOXRAY_PARITY", ROOT.parent / "shared" / "parity"))
QUICK_SECONDS = 20
LARGEST_SEED = 1 << 17
GOALS = {"crashes": 0, "executions": 0, "files_written": 0}
RUNNING = (
    "exec", "compile", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
    "subprocess.Popen", "pickle.find_class", "ctypes.dlopen", "socket.connect", "import",
)  # fmt: skip
WRITING = ("os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.truncate")


class Watch:
    """Counts what Python reports of programs run and files written while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seen: Counter[str] = Counter()
        sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in RUNNING:
            self.seen["executions"] += 1
        elif event in WRITING:
            self.seen["files_written"] += 1
        elif event == "open" and isinstance(arguments[2], int):
            writing = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            self.seen["files_written"] += bool(writing)


def seeds() -> list[bytes]:
    """Files to start from."""
    found = [
        made.saved(made.v2_content()),
        made.saved(made.v2_content(), b"05"),
        made.saved(made.s1_content()),
        made.saved(made.lora_content(), b"03"),
        made.saved(made.matching_weights()),
        made.saved({**made.v2_content(), "config": {"x": made.Evil()}}),
    ]
    if (PARITY / "containers").is_dir():
        paths = sorted((PARITY / "containers").glob("*.*"))
        found += [p.read_bytes() for p in paths if p.suffix in (".pth", ".ckpt")]
    return [data for data in found if 0 < unpacked(data) <= LARGEST_SEED]


def unpacked(data: bytes) -> int:
    """Bytes of a file, or of what a zip claims to hold (a bomb would take all the time)."""
    try:
        with zipfile.ZipFile(io.BytesIO(b"PK" + data[2:])) as archive:
            return sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile:
        return len(data)


def raw(data: bytes, _: bytes, dice: random.Random) -> bytes:
    return made.mutated(data, dice)


def inside_pickle(data: bytes, _: bytes, dice: random.Random) -> bytes:
    return made.with_pickle(data, lambda pickled: made.mutated(pickled, dice))


def foreign_pickle(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """The pickle of one file, or its two halves, among the records of another."""
    stolen = made.repacked(other, lambda _: None)
    pieces: list[bytes] = []
    made.with_pickle(stolen, lambda pickled: pieces.append(pickled) or pickled)

    def splice(pickled: bytes) -> bytes:
        cut = dice.randrange(len(pickled) + 1)
        return dice.choice((pieces[0], pickled[:cut] + pieces[0][dice.randrange(cut + 1) :]))

    return made.with_pickle(data, splice)


def records(data: bytes, _: bytes, dice: random.Random) -> bytes:
    """Records dropped, renamed, exchanged, lengthened or under the same name twice."""

    def change(content: dict[str, bytes]) -> None:
        for _ in range(dice.choice((1, 1, 2, 3))):
            name = dice.choice(sorted(content))
            held = content.pop(name)
            kind = dice.randrange(5)
            if kind == 1:
                content[dice.choice(("../x", "/x", "a\\b", "", "C:x", name + "/", "\0x"))] = held
            elif kind == 2 and content:
                other = dice.choice(sorted(content))
                content[name], content[other] = content[other], held
            elif kind == 3:
                content[name] = held + dice.randbytes(dice.choice((1, 2, 64, 5000)))
            elif kind == 4:
                content[name] = held[: dice.randrange(len(held) + 1)]
            if not content:
                content["a/data.pkl"] = held

    extra = ((dice.choice(("archive/data.pkl", "x", "archive/data/0")), b"."),)
    compression = zipfile.ZIP_DEFLATED if dice.random() < 0.1 else zipfile.ZIP_STORED
    return made.repacked(data, change, compression, extra if dice.random() < 0.2 else ())


def tag(data: bytes, _: bytes, dice: random.Random) -> bytes:
    known = dice.choice(TAGS).encode()
    return dice.choice((known, known, dice.randbytes(2))) + data[2:]


def safetensors(_: bytes, __: bytes, dice: random.Random) -> bytes:
    from safetensors.torch import save

    return made.mutated(save(made.v2_weights()), dice)


MUTATIONS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    raw, inside_pickle, inside_pickle, foreign_pickle, records, tag, safetensors,
)  # fmt: skip


def mutation(pool: list[bytes], dice: random.Random) -> tuple[str, bytes]:
    """The next file; where a seed is no zip that can be taken apart, its raw bytes change."""
    data, other, kind = dice.choice(pool), dice.choice(pool), dice.choice(MUTATIONS)
    try:
        return kind.__name__, kind(data, other, dice)
    except (ValueError, LookupError, StopIteration, zipfile.BadZipFile, NotImplementedError):
        return "raw", raw(data, other, dice)


def attempt(path: Path, watch: Watch) -> tuple[str, str]:
    """Read one file: what came of it, and the traceback of a crash."""
    watch.on = True
    try:
        identify(read(path))
    except (ForeignFileError, OSError) as error:
        return type(error).__name__, ""
    except Exception:  # noqa: BLE001 - anything else is the finding
        return "crash", traceback.format_exc()
    finally:
        watch.on = False
    return "read", ""


def fuzz(seconds: float, seed: int, keep: Path | None) -> dict[str, Any]:
    """Mutate and read until the time is up."""
    dice, watch, pool = random.Random(seed), Watch(), seeds()
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    slowest, crashes = 0.0, Counter()
    with tempfile.TemporaryDirectory() as folder:
        path, marker = Path(folder) / "file.pth", Path(folder) / "pwned"
        os.environ[made.PWNED] = str(marker)
        warm_up(path, watch)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind, data = mutation(pool, dice)
            path.write_bytes(data)
            before, start = watch.seen.total(), time.process_time()
            outcome, trace = attempt(path, watch)
            slowest = max(slowest, time.process_time() - start)
            outcomes[outcome] += 1
            kinds[kind] += 1
            strays = [p for p in Path(folder).iterdir() if p != path]
            watch.seen["files_written"] += len(strays)
            for stray in strays:
                stray.unlink()
            if trace:
                crashes[trace] += 1
            if keep and (trace or strays or watch.seen.total() > before):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{hashlib.sha256(data).hexdigest()[:16]}.pth").write_bytes(data)
    return {
        "files": outcomes.total(), "outcomes": dict(outcomes), "mutations": dict(kinds),
        "seeds": len(pool), "seed": seed, "seconds": seconds, "slowest_cpu_s": round(slowest, 3),
        "crashes": outcomes["crash"], "executions": watch.seen["executions"],
        "files_written": watch.seen["files_written"], "traces": [t for t, _ in crashes.most_common(5)],
    }  # fmt: skip


def warm_up(path: Path, watch: Watch) -> None:
    """Let libraries load what they load at first use, before anything is counted."""
    from safetensors.torch import save

    for data in (made.saved(made.v2_content()), save(made.v2_weights()), b"x" * 9):
        path.write_bytes(data)
        attempt(path, watch)
    watch.seen.clear()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--quick", action="store_true", help="20 seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keeps files that missed a goal")
    options = parser.parse_args()
    seconds = QUICK_SECONDS if options.quick else options.minutes * 60
    report = fuzz(seconds, options.seed, options.keep)
    print(f"{report['files']} files from {report['seeds']} seeds in {seconds:g} s: ", end="")
    print(", ".join(f"{name} {count}" for name, count in sorted(report["outcomes"].items())))
    print(f"slowest {report['slowest_cpu_s']} s of CPU time")
    print(f"{'figure':<16}{'goal':>6}{'seen':>8}")
    for name, goal in GOALS.items():
        print(f"{name:<16}{goal:>6}{report[name]:>8}{'' if report[name] <= goal else '  missed'}")
    for trace in report["traces"]:
        print(trace)
    if options.json:
        options.json.write_text(json.dumps({**report, "goals": GOALS}, indent=1) + "\n")
    return int(any(report[name] > goal for name, goal in GOALS.items()))


if __name__ == "__main__":
    raise SystemExit(main())
