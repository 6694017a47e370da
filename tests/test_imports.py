"""Dependencies point one way, and speech leaves by one gate: the imports are read, not run.

The order is that of the design: `RANKS` from left to right; a module may import what stands left of
it or beside it, never what stands right.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "voxray"
RANKS = (
    {"audio", "config", "sites", "sharing", "notes", "rounding", "heap"},
    {"text", "tokens", "models"},
    {
        "sampling",
        "bundle",
        "packaged",
        "checkpoint",
        "cleaning",
        "convert",
        "pretrained",
        "hub",
        "voice",
        "decoding",
        "joining",
        "pieces",
        "synthesis",
        "interventions",
    }
    | {"watch", "token_pool", "takes", "fitting", "pacing", "options", "assembly"},
    {"pipeline", "job", "batching", "train", "article"},
    {"engine"},
    {"steer", "explain"},
    {"evaluate", "compress", "forensics"},
    {"trust"},
    {"serve"},
    {"studio"},
    {"commands", "__main__"},
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
WRITERS = {"write_audio", "AudioWriter"}
FILES = sorted(SOURCE.rglob("*.py"))


def unit(path: Path) -> str:
    """The first name under the package: `models/gpt.py` belongs to `models`."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names of everything a file imports, absolute, with the line."""
    package = ("voxray", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{name}.{alias.name}", node.lineno) for alias in node.names)


def parts_used(path: Path) -> list[tuple[str, int]]:
    names = imported(path, ast.parse(path.read_text(encoding="utf-8")))
    return [(n.split(".")[1], line) for n, line in names if n.startswith("voxray.")]


def test_every_file_has_a_place() -> None:
    units = {unit(path) for path in FILES} - {"__init__", "builtin"}
    assert units <= RANK.keys(), f"give these a place in RANKS: {sorted(units - RANK.keys())}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_back_edge(path: Path) -> None:
    here = unit(path)
    if here in ("__init__", "builtin"):  # the package's front: loads on first use
        return
    wrong = [(n, line) for n, line in parts_used(path) if RANK.get(n, -1) > RANK[here]]
    assert not wrong, f"{path.relative_to(SOURCE)} imports from its right: {wrong}"


def test_no_circles_among_neighbours() -> None:
    edges: dict[str, set[str]] = {}
    for path in FILES:
        here = unit(path)
        edges.setdefault(here, set()).update(n for n, _ in parts_used(path) if n in RANK)
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name in done:
            return
        for other in edges.get(name, set()) - {name}:
            visit(other, (*trail, name))
        done.add(name)

    for name in RANK:
        visit(name, ())


def test_only_the_engine_writes_synthetic_audio() -> None:
    for path in FILES:
        if unit(path) in ("audio", "engine"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        names |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        names |= {name.split(".")[-1] for name, _ in imported(path, tree)}
        assert not names & WRITERS, f"{path.relative_to(SOURCE)} writes audio: go through engine"


def test_models_and_sites_stand_on_torch_alone() -> None:
    allowed = {"torch", "numpy", "voxray", "pydantic"}
    for path in [SOURCE / "sites.py", *sorted((SOURCE / "models").rglob("*.py"))]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tops = {name.split(".")[0] for name, _ in imported(path, tree)}
        if path.name == "context.py":
            allowed = allowed | {"transformers"}  # the adapter imports it when it is asked for
        foreign = {t for t in tops - allowed if t not in sys.stdlib_module_names}
        assert not foreign, f"{path.relative_to(SOURCE)} imports {sorted(foreign)}"
