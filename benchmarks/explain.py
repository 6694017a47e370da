"""Are the explanations true, and what do they cost? Goal beside figure; fails where a goal is missed.

    python benchmarks/explain.py --quick                 # few utterances: minutes
    python benchmarks/explain.py --json out.json         # 50 utterances
    python benchmarks/explain.py --only alignment tokens # some rows

Rows are functions in benchmarks/explain_rows_*.py: each takes the `Plan` and returns `Row`s. Figures
carry 95 % bootstrap intervals. Exit code 1: a goal was missed; a row that could not be measured says why
and counts as missed in a whole run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the rows share explain_plan

from explain_plan import Plan, Row, Unmeasured  # noqa: E402


def modules() -> list[ModuleType]:
    """Every file of rows."""
    made = []
    for path in sorted(HERE.glob("explain_rows_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{path} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        made.append(module)
    return made


def measure(plan: Plan, only: list[str]) -> list[Row]:
    """Run the rows (those whose function's name holds one of `only`)."""
    rows: list[Row] = []
    for module in modules():
        for name, function in vars(module).items():
            if not name.startswith("row_") or (only and not any(o in name for o in only)):
                continue
            began = time.perf_counter()
            try:
                found = list(function(plan))
            except Unmeasured as error:
                found = [Row(name[4:].replace("_", " "), None, "", met=None, note=str(error))]
            seconds = time.perf_counter() - began
            for row in found:
                print(f"{row.line()}   ({seconds:.0f} s)", flush=True)
            rows += found
    return rows


def table(rows: list[Row], quick: bool) -> str:
    """The rows as Markdown, with how they were made."""
    import torch

    import voxray

    command = shlex.join(["python", "benchmarks/explain.py", *sys.argv[1:]])
    lines = [
        "# Are the explanations true?",
        "",
        f"Made by `{command}` on {time.strftime('%Y-%m-%d')}: {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores, torch {torch.__version__}, voxray {voxray.__version__}"
        + (", **quick: few utterances**." if quick else "."),
        "",
        "| figure | value [95 % interval], items | goal | met | note |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *[row.markdown() for row in rows]]) + "\n"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few utterances.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Rows whose name holds this.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model's folder; default: mini.")] = None,
    shared: Annotated[
        Path, typer.Option(help="Folder with teacher/ and speech/.")
    ] = HERE.parent.parent / "shared",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table.")] = None,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Measure."""
    import torch

    torch.set_num_threads(threads)
    plan = Plan(quick=quick, shared=shared, model=model)
    rows = measure(plan, only or [])
    if json_out is not None:
        json_out.write_text(json.dumps([row.to_json() for row in rows], indent=1) + "\n", "utf-8")
    if markdown is not None:
        markdown.write_text(table(rows, quick), "utf-8")
    missed = [
        row for row in rows if row.met is False or (row.met is None and row.goal and not quick)
    ]
    for row in missed:
        print(f"missed: {row.name}", file=sys.stderr)
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
