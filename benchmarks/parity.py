"""Does voxray compute what the published models compute?

    python benchmarks/parity.py FOLDER [--only PATTERN] [--containers FOLDER] [--quick] [--json OUT]

FOLDER is laid out as the recorded cases are: `cases/*.npz`, `keys/*.json` (tensor names and shapes)
and `weights.py` (repeatable random weights; it is run, so take it from where you trust). Every
array of every case is compared in float32; the table shows largest and relative error, tolerance and
verdict. Exit status 1 where one misses, 2 where the folder is not what it should be.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from voxray.convert.detect import identify, require
from voxray.convert.reader import ForeignFileError, read

sys.path.insert(0, str(Path(__file__).parent))
from parity_cases import Case  # noqa: E402
from parity_matching import ALL_CASES  # noqa: E402

EXACT = {"codes", "tokens", "targets", "ids"}
SCALAR = 1e-5


@dataclass(frozen=True)
class Row:
    """One compared array: largest error over its rms, relative L2, what is allowed."""

    case: str
    array: str
    largest: float
    relative: float
    allowed: str
    passed: bool
    note: str = ""


def compared(case: str, name: str, ours: Any, theirs: np.ndarray) -> Row:
    """One array against its recording, by the tolerance for its kind."""
    a = torch.as_tensor(ours).detach().double().cpu().numpy()
    b = np.asarray(theirs, np.float64)
    if a.size != b.size:
        return Row(case, name, np.inf, np.inf, "-", False, f"shape {a.shape}, not {b.shape}")
    a = a.reshape(b.shape)
    largest = float(np.abs(a - b).max(initial=0.0))
    relative = float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))
    rms = float(np.sqrt(np.square(b).mean())) or 1.0
    if np.issubdtype(theirs.dtype, np.integer):
        wrong = int((a != b).sum())
        return Row(
            case, name, largest, relative, "equal", wrong == 0, f"{wrong} differ" * (wrong > 0)
        )
    if name.startswith("probs"):
        same = bool(((a > 0) == (b > 0)).all())
        note = "" if same else "other survivors"
        return Row(case, name, largest, relative, "max 1e-6", same and largest <= 1e-6, note)
    if name.startswith("fmap_sum"):
        off = np.abs(a - b)[:, 0] / b[:, 1]
        passed = bool(off.max() <= SCALAR and (a[:, 2] == b[:, 2]).all())
        return Row(case, name, float(off.max()), relative, "1e-5 of |sum|", passed)
    if b.ndim == 0:
        return Row(case, name, relative, relative, f"rel {SCALAR:.0e}", relative <= SCALAR)
    if re.search("mel|fbank", name) and case.endswith("signal"):
        passed = relative <= 3e-5 and largest <= 5e-3
        return Row(case, name, largest, relative, "3e-5, max 5e-3", passed)
    if re.match("spectrogram|resample|soxr", name):
        limit = 1e-4 if name.startswith("soxr") else 1e-5
        return Row(case, name, largest / rms, relative, f"rel {limit:.0e}", relative <= limit)
    passed = relative <= 3e-5 and largest <= 3e-4 * rms
    return Row(case, name, largest / rms, relative, "3e-5, max 3e-4", passed)


def weights_module(folder: Path) -> ModuleType:
    """The folder's own rule for its repeatable weights."""
    spec = importlib.util.spec_from_file_location("parity_weights", folder / "weights.py")
    if spec is None or spec.loader is None or not (folder / "weights.py").is_file():
        print(f"{folder} holds no weights.py: name a folder of recorded cases", file=sys.stderr)
        raise typer.Exit(2)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Weights:
    """The weights of one key table at a time: the largest has 384 M numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fill: Callable[..., dict[str, np.ndarray]] = weights_module(folder).fill
        self.key: tuple[str, int] | None = None
        self.tensors: dict[str, Tensor] = {}
        self.models: dict[str, Any] = {}

    def of(self, meta: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and the modules made from them, kept while the table stays the same."""
        if "keys" not in meta:
            return {}, {}
        key = (meta["keys"], meta.get("weight_seed", 0))
        if key != self.key:
            self.tensors, self.models = {}, {}
            gc.collect()
            self.tensors = self.table(*key)
            self.key = key
        return self.tensors, self.models

    def table(self, name: str, seed: int) -> dict[str, Tensor]:
        """The weights of one key table."""
        path = self.folder / "keys" / name
        filled = self.fill(json.loads(path.read_text(encoding="utf-8"))["keys"], seed)
        return {k: torch.from_numpy(np.ascontiguousarray(filled.pop(k))) for k in list(filled)}


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and notes of one recorded case."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "meta"}
        return arrays, json.loads(str(file["meta"]))


def run_case(path: Path, weights: Weights) -> Iterator[Row]:
    """Every array of one case that voxray gives."""
    name = path.stem
    run = next((run for pattern, run in ALL_CASES if re.match(pattern, name)), None)
    if run is None:
        yield Row(name, "-", np.inf, np.inf, "-", False, "no such case is known")
        return
    arrays, meta = load(path)
    tensors, models = weights.of(meta)
    case = Case(name, arrays, meta, tensors, models, weights.table)
    with torch.inference_mode():
        try:
            for array, ours in run(case):
                if array in arrays:
                    yield compared(name, array, ours, arrays[array])
        except (ValueError, KeyError, RuntimeError) as error:
            yield Row(name, "-", np.inf, np.inf, "-", False, f"{type(error).__name__}: {error}")


def ordered(folder: Path, only: str) -> list[Path]:
    """Cases that match, those with the same weights together."""
    paths = [p for p in sorted((folder / "cases").glob("*.npz")) if re.search(only, p.stem)]
    return sorted(paths, key=lambda p: str(load(p)[1].get("keys", "")))


def show(rows: list[Row], console: Console) -> None:
    """The table."""
    table = Table("case", "array", "largest", "relative", "goal", "", box=None, pad_edge=False)
    for row in rows:
        verdict = "ok" if row.passed else f"MISS {row.note}"
        largest, relative = (f"{x:.1e}" for x in (row.largest, row.relative))
        table.add_row(row.case, row.array, largest, relative, row.allowed, verdict)
    console.print(table)


def main(
    folder: Path,
    only: Annotated[str, typer.Option(help="Regular expression: cases to run.")] = "",
    containers: Annotated[Path | None, typer.Option(help="Files to open by their table.")] = None,
    quick: Annotated[bool, typer.Option(help="Sampler and signals only: no weights.")] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table of cases here.")] = None,
) -> None:
    """Compare every recorded case."""
    paths = ordered(folder, only or ("sampler|signal" if quick else ""))
    if not paths:
        print(f"{folder}/cases holds no case that matches: name another folder", file=sys.stderr)
        raise typer.Exit(2)
    torch.manual_seed(0)
    weights, rows = Weights(folder), []
    for path in paths:
        for row in run_case(path, weights):
            rows.append(row)
            print(f"{row.case} {row.array} {row.relative:.1e} {'ok' if row.passed else 'MISS ' + row.note}",
                  file=sys.stderr, flush=True)  # fmt: skip
    files = [] if containers is None else list(opened(containers))
    table = summary(rows, files)
    rows.extend(files)
    show(rows, Console(width=110))
    if json_out is not None:
        json_out.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    if markdown is not None:
        markdown.write_text(table, encoding="utf-8")
    missed = [row for row in rows if not row.passed]
    print(f"{len(rows) - len(missed)} of {len(rows)} arrays within tolerance, {len(paths)} cases")
    if missed:
        raise typer.Exit(1)


def summary(rows: list[Row], files: list[Row]) -> str:
    """One line a case: its worst array, as Markdown; containers in one line, and those that missed."""
    lines = [
        "# Parity with the recorded cases of the published models",
        "",
        f"`python benchmarks/parity.py FOLDER`, {date.today()}, {platform.system()} {platform.machine()}, torch {torch.__version__}.",
        "",
        "Worst of each case's arrays; float32. Goal: relative L2 3e-5 and largest error 3e-4 of the rms",
        "(tokens, codes: equal; others as the recordings' README says).",
        "",
        "| case | arrays | relative L2 | largest / rms | within tolerance |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for case in dict.fromkeys(row.case for row in rows):
        own = [row for row in rows if row.case == case]
        passed = sum(row.passed for row in own)
        worst, largest = max(row.relative for row in own), max(row.largest for row in own)
        verdict = "yes" if passed == len(own) else f"{len(own) - passed} miss"
        lines.append(f"| {case} | {len(own)} | {worst:.1e} | {largest:.1e} | {verdict} |")
    good = sum(row.passed for row in rows)
    lines += [
        "",
        f"{good} of {len(rows)} arrays in {len({row.case for row in rows})} cases are within tolerance.",
    ]
    if files:
        good = sum(row.passed for row in files)
        lines.append(
            f"{good} of {len(files)} container files load or are refused as their table says."
        )
    lines += [
        f"Missed: {row.case} {row.array} {row.note}" for row in (*rows, *files) if not row.passed
    ]
    return "\n".join(lines) + "\n"


def opened(folder: Path) -> Iterator[Row]:
    """Every file of a folder of containers: does it load or is it refused, as its README's table says?"""
    table = (folder / "README.md").read_text(encoding="utf-8")
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    for name, must in re.findall(
        r"^\| `([^`]+)` \|[^|]*\|[^|]*\| ([^|]+) \|$", table, re.MULTILINE
    ):
        shapes = {n: t[1] for n, t in expected.get(name, {}).get("tensors", {}).items()}
        try:
            file = read(folder / name)
            identity = identify(file)
            if "as s2" in must:
                require(identity, "s2")
            loaded, said = True, "was read"
        except ForeignFileError as error:
            loaded, said = False, str(error)
        if loaded:
            passed = not must.startswith("refuse") or "or load" in must
        else:
            passed = "refuse" in must
        if loaded and shapes:
            passed &= {n: list(t.shape) for n, t in file.tensors.items()} == shapes
        yield Row(name, "-", 0.0, 0.0, must.split()[0].strip(",;"), passed, "" if passed else said)


if __name__ == "__main__":
    typer.run(main)
