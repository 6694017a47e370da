"""What lies in deploy/ fits the package: the image's recipe, its health check, the systemd unit."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serving import Open

from voxray.commands import main

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="no deploy/ beside these tests")


@pytest.fixture
def recipe() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: (name, the rest)."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    steps = (line.strip() for line in lines.replace("\\\n", " ").splitlines())
    return [(name, rest.strip()) for name, _, rest in (s.partition(" ") for s in steps if s)]


def rest_of(recipe: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for known, rest in recipe if known == name]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, dict[str, Any]]]:
    """Services that were started; none listens."""
    apps: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **how: apps.append((app, how)))
    monkeypatch.setenv("VOXRAY_HOME", str(tmp_path / "home"))
    return apps


def test_what_the_image_copies_is_there_and_is_enough(recipe: list[tuple[str, str]]) -> None:
    copied: set[str] = set()
    for rest in rest_of(recipe, "COPY"):
        *sources, _ = shlex.split(rest)
        copied |= set(sources)
    assert copied and not [name for name in copied if not (ROOT / name).exists()]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'^(?:readme = |license-files = \[|packages = \[)"([^"]+)"', project, re.M)
    assert len(named) == 3 and {name.split("/")[0] for name in named} <= copied


def test_the_image_installs_extras_that_exist_with_the_pins(recipe: list[tuple[str, str]]) -> None:
    (install,) = (rest for rest in rest_of(recipe, "RUN") if "pip install" in rest)
    words = shlex.split(install)
    assert words[words.index("-c") + 1] == "constraints.txt"
    extras = re.fullmatch(r"\.\[(.+)\]", words[-1])
    assert extras is not None
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", project, re.M), f"there is no extra {extra}"


def test_the_image_starts_as_a_user_without_rights(
    recipe: list[tuple[str, str]], started: list[tuple[Any, dict[str, Any]]]
) -> None:
    (user,) = rest_of(recipe, "USER")
    assert user.isdigit() and int(user) > 0
    assert any(f"--uid {user} " in rest for rest in rest_of(recipe, "RUN"))
    (program,), (command,) = (
        [json.loads(rest) for rest in rest_of(recipe, name)] for name in ("ENTRYPOINT", "CMD")
    )
    assert program == ["voxray"]
    assert main(command) == 0
    ((app, how),) = started
    assert how["host"] == "0.0.0.0" and str(how["port"]) == rest_of(recipe, "EXPOSE")[0]
    assert app.state.service.settings.keys == "required", "the world needs a key"
    assert {"127.0.0.1", "localhost"} <= set(app.state.service.settings.hosts)
    app.state.service.scheduler.stop(1.0)


def test_the_health_check_asks_what_there_is(recipe: list[tuple[str, str]], serve: Open) -> None:
    (check,) = rest_of(recipe, "HEALTHCHECK")
    *_, program = json.loads(check[check.index("[") :])
    compile(program, "HEALTHCHECK", "exec")
    path = re.search(r"http://127\.0\.0\.1:9880(/\w+)", program)
    assert path is not None and serve().get(path[1]).status_code == 200


def test_the_unit_starts_the_service(started: list[tuple[Any, dict[str, Any]]]) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(DEPLOY / "voxray.service", encoding="utf-8")
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/voxray") and service["User"] == "voxray"
    home = service["Environment"].removeprefix("VOXRAY_HOME=")
    assert home == f"/var/lib/{service['StateDirectory']}", "the only place it may write"
    assert main(arguments) == 0
    ((app, how),) = started
    assert how["host"] == "127.0.0.1"
    assert int(service["TimeoutStopSec"]) > how["timeout_graceful_shutdown"]
    app.state.service.scheduler.stop(1.0)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "voxray.service").read_text(encoding="utf-8")
    here = re.sub(
        r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text
    )  # it wants a file that is there
    (tmp_path / "voxray.service").write_text(here, encoding="utf-8")
    told = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "voxray.service")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert told.returncode == 0 and not told.stderr.strip(), told.stderr


def test_the_sizes_in_the_docs_are_the_benchmark_s() -> None:
    """Who runs the benchmark anew copies its table."""
    page, told = ROOT / "docs" / "serving.md", ROOT / "benchmarks" / "results" / "serve.md"
    rows = [
        set(re.findall(r"(?m)^\| \d+ \| \d+ \|$", path.read_text(encoding="utf-8")))
        for path in (page, told)
    ]
    assert rows[0] and rows[0] == rows[1]
