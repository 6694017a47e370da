"""`--precision` is the same switch for `serve` and `studio` as for `say`: the model's folder gets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from voxray.bundle import Bundle
from voxray.commands import main
from voxray.engine import tts

COMMANDS = {"serve": ["--local"], "studio": ["--no-browser"]}
NEEDS = {"serve": "prometheus_client", "studio": "gradio"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Applications that were started; none listens."""
    apps: list[Any] = []
    uvicorn = pytest.importorskip("uvicorn", reason="needs: pip install 'voxray[serve]'")
    monkeypatch.setattr(uvicorn, "run", lambda app, **_: apps.append(app))
    monkeypatch.setenv("VOXRAY_HOME", str(tmp_path / "home"))
    return apps


@pytest.mark.parametrize("command", COMMANDS)
def test_the_folder_is_opened_with_it(
    command: str, started: list[Any], tiny: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS[command], reason=f"needs: pip install 'voxray[{command}]'")
    tiny.save(tmp_path / "model")
    named = str(tmp_path / "model")
    given = f"small={named}" if command == "serve" else named
    assert main([command, *COMMANDS[command], "--model", given, "--precision", "fast"]) == 0
    (app,) = started
    if command == "serve":
        service = app.state.service
        assert service.bundle("small").precision == "fast"
        service.scheduler.stop(1.0)
    else:
        studio = app.state.studio
        assert studio.pipeline(studio.settings.model).models.precision == "fast"
        studio.shelf.close()
    assert tts.pipeline(named).models.precision == "fast"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("precision", "model", "said"),
    [("half", True, "choose float32, fast, int8"), ("fast", False, "give --model FOLDER as well")],
)
def test_what_it_cannot_be(
    command: str, precision: str, model: bool, said: str,
    started: list[Any], tiny: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip(NEEDS[command], reason=f"needs: pip install 'voxray[{command}]'")
    arguments = [command, *COMMANDS[command], "--precision", precision]
    if model:
        tiny.save(tmp_path / "model")
        named = str(tmp_path / "model")
        arguments += ["--model", f"small={named}" if command == "serve" else named]
    assert main(arguments) == 2
    assert said in capfd.readouterr().err and not started
