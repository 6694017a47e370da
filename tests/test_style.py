"""What a machine can check of the house style; `ruff` and the type checker do the rest."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "voxray"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 600, 60
PICKLES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
PRINTS = ("commands", "__main__.py")  # the only places that talk on the terminal


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.fixture(params=FILES, ids=name, scope="module")  # each file is read once for all tests
def source(request: pytest.FixtureRequest) -> tuple[Path, ast.Module]:
    return request.param, ast.parse(request.param.read_text(encoding="utf-8"))


def calls(tree: ast.Module) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_files_and_functions_are_short(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= LONGEST_FILE, f"{name(path)} has {count} lines: split it"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{name(path)}: {node.name} has {length} lines"


def test_files_open_with_what_they_hold(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    assert not tree.body or ast.get_docstring(tree), f"{name(path)} has no docstring"


def test_no_bare_except(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name(path)}:{node.lineno} has a bare except"


def test_the_library_does_not_print(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    if name(path).startswith(PRINTS):
        return
    for call in calls(tree):
        printed = isinstance(call.func, ast.Name) and call.func.id == "print"
        assert not printed, f"{name(path)}:{call.lineno} prints"


def test_no_shell_no_eval(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    for call in calls(tree):
        where = f"{name(path)}:{call.lineno}"
        shell = [k for k in call.keywords if k.arg == "shell"]
        assert not shell, f"{where} starts a shell"
        if isinstance(call.func, ast.Name):
            assert call.func.id not in ("eval", "exec"), f"{where} evaluates text"
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            dotted = f"{call.func.value.id}.{call.func.attr}"
            assert dotted not in ("os.system", "os.popen"), f"{where} starts a shell"


def test_no_pickle(source: tuple[Path, ast.Module]) -> None:
    """Foreign pickles go through the restricted reader; `torch.load` must say weights_only."""
    path, tree = source
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]} if not node.level else set()
        else:
            continue
        assert not names & PICKLES, f"{name(path)}:{node.lineno} imports a pickle reader"
    for call in calls(tree):
        if ast.unparse(call.func) == "torch.load":
            safe = any(
                k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords
            )
            assert safe, f"{name(path)}:{call.lineno}: torch.load without weights_only=True"
        if ast.unparse(call.func) == "np.load":
            allowed = [k for k in call.keywords if k.arg == "allow_pickle"]
            assert not allowed, f"{name(path)}:{call.lineno}: np.load with allow_pickle"


def test_no_global_seeding(source: tuple[Path, ast.Module]) -> None:
    path, tree = source
    if name(path).startswith("train/"):  # a run owns its process; initialisers take no generator
        return
    for call in calls(tree):
        seeds = ast.unparse(call.func) in ("torch.manual_seed", "np.random.seed", "random.seed")
        assert not seeds, f"{name(path)}:{call.lineno} seeds globally: pass a generator"


def test_no_paths_of_one_machine() -> None:
    """Nothing committed speaks of where it was made."""
    for path in [*FILES, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "constraints.txt"]:
        text = path.read_text(encoding="utf-8")
        found = [place for place in ("/" + "root/", "/" + "work/", "/" + "opt/") if place in text]
        assert not found, f"{path.relative_to(ROOT)} names {found}"
