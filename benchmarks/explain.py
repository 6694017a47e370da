"""Are the explanations true, and what do they cost? Goal beside figure; fails where a goal is missed.

    python benchmarks/explain.py --quick                        # few utterances: minutes
    python benchmarks/explain.py --jobs 2 --json out.json       # 50 utterances; goes on where it was stopped
    python benchmarks/explain.py --rows alignment,roles         # some rows; --list names them all

Rows are functions in benchmarks/explain_rows_*.py: each takes the `Plan` and returns `Row`s. Figures
carry 95 % bootstrap intervals. Every row is written to the JSON as it comes; rows that stand there already
(same weights, same size of the run) are not measured again unless `--again`. `benchmarks/claims.py` fills
docs/claims.md from it. Exit code 1: a goal was missed; a row that could not be measured says why and counts
as missed in a whole run.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the rows share explain_plan

from explain_plan import Plan, Results, Row, Unmeasured  # noqa: E402

ALONE = ("idle_cost", "cost", "why_cost")  # rows that time something run with nothing beside them
LONG = ("sound_completeness", "concept", "why", "ledger", "emphasis", "loops")  # begun first
Function = Callable[[Plan], Iterator[Row]]


def modules() -> list[ModuleType]:
    """Every file of rows."""
    made = []
    for path in sorted(HERE.glob("explain_rows_*.py")):
        if path.stem in sys.modules:
            made.append(sys.modules[path.stem])
            continue
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{path} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        made.append(module)
    return made


def functions() -> dict[str, Function]:
    """Every row by its name."""
    return {
        name[4:]: function
        for module in modules()
        for name, function in vars(module).items()
        if name.startswith("row_")
    }


def chosen(wanted: str) -> list[str]:
    """Names of the rows asked for, in their order; empty: all."""
    every = list(functions())
    if not wanted:
        return every
    asked = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in asked if name not in every]
    if unknown:
        raise ValueError(f"no row named {unknown[0]!r}; there are {', '.join(every)}")
    return [name for name in every if name in asked]


def one(name: str, plan: Plan) -> tuple[str, list[Row], float]:
    """Measure one row; the seconds are those of the processor."""
    began = time.process_time()
    try:
        rows = list(functions()[name](plan))
    except (Unmeasured, ValueError) as error:  # too few items, nothing to measure: the others go on
        rows = [Row(name.replace("_", " "), None, "", met=None, note=str(error))]
    return name, rows, time.process_time() - began


_PLAN: list[Plan] = []  # what the forked workers share


def _in_worker(name: str) -> tuple[str, list[Row], float]:
    return one(name, _PLAN[0])


def measure(plan: Plan, names: list[str], jobs: int, results: Results) -> None:
    """Run rows, timed ones alone and before the others, and keep each as it comes."""
    alone = [name for name in names if name in ALONE]
    rest = [name for name in names if name not in ALONE]
    rest.sort(key=lambda name: LONG.index(name) if name in LONG else len(LONG))
    plan.prepare(names)
    _PLAN[:] = [plan]
    for group, width in ((alone, 1), (rest, jobs)):
        if jobs <= 1:
            for name in group:
                results.add(*one(name, plan))
        elif group:
            # A fork shares the traces; the parent must not have run anything backwards by then.
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(width, mp_context=context) as pool:
                failed: list[BaseException] = []
                for done in as_completed([pool.submit(_in_worker, name) for name in group]):
                    error = done.exception()
                    if error is None:
                        results.add(*done.result())
                    else:
                        failed.append(error)
            if failed:  # the other rows are kept by now
                raise failed[0]


def table(results: Results, quick: bool) -> str:
    """The rows as Markdown, with how they were made."""
    import torch

    import voxray

    command = shlex.join(["python", "benchmarks/explain.py", *sys.argv[1:]])
    lines = [
        "# Are the explanations true?",
        "",
        f"Made by `{command}` on {time.strftime('%Y-%m-%d')}: {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores, torch {torch.__version__}, voxray {voxray.__version__}, weights "
        f"{results.weights}, {results.seconds / 60:.0f} minutes of one core"
        + (", **quick: few utterances**." if quick else "."),
        "",
        "| figure | value [95 % interval], items | goal | met | note |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *[row.markdown() for row in results.rows]]) + "\n"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few utterances.")] = False,
    rows: Annotated[str, typer.Option(help="Rows, with commas between; default: all.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="Name the rows.")] = False,
    again: Annotated[bool, typer.Option(help="Measure also what the JSON holds.")] = False,
    model: Annotated[Path | None, typer.Option(help="A model's folder; default: mini.")] = None,
    shared: Annotated[
        Path, typer.Option(help="Folder with teacher/ and speech/.")
    ] = HERE.parent.parent / "shared",
    json_out: Annotated[Path | None, typer.Option("--json", help="Keep the figures here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Rows at once, one thread each.")] = 1,
    threads: Annotated[int, typer.Option(help="Of torch, where one row runs at once.")] = 2,
) -> None:
    """Measure."""
    import torch

    if listed:
        print("\n".join(functions()))
        return
    torch.set_num_threads(threads if jobs == 1 else 1)
    plan = Plan(quick=quick, shared=shared, model=model)
    wanted = chosen(rows)
    results = Results(plan.weights, quick, json_out, list(functions()))
    measure(plan, [n for n in wanted if again or n not in results.found], jobs, results)
    if markdown is not None:
        markdown.write_text(table(results, quick), "utf-8")
    held = [row for name in wanted for row in results.found[name].rows]
    missed = [r for r in held if r.met is False or (r.met is None and r.goal and not quick)]
    for row in missed:
        print(f"missed: {row.name}", file=sys.stderr)
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"explain: {error}\n")
        sys.exit(2)
