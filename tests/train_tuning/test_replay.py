"""Steps that can be recorded are the steps that are taken one by one; without a GPU nothing is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from voxray.train.replay import Replay, Steps
from voxray.train.run import Run, Schedule, Task, fit

GOAL = torch.tensor([[1.0, -2.0, 0.5]])


def task_of(model: nn.Module, *, recorded: bool) -> Task:
    """Learns a line; every third step weighs its error doubly."""

    def batch(number: int) -> list[Tensor]:
        return [torch.randn(8, 3, generator=torch.Generator().manual_seed(number))]

    def losses_of(batch: list[Tensor], kind: float) -> dict[str, Tensor]:
        return {"error": kind * (model(batch[0]) - batch[0] @ GOAL.t()).square().mean()}

    def kind(number: int) -> float:
        return 2.0 if number % 3 == 2 else 1.0

    def losses(number: int) -> dict[str, Tensor]:
        return losses_of(batch(number), kind(number))

    steps = Steps(batch, kind, losses_of) if recorded else None
    return Task([{"params": list(model.parameters())}], losses, {"error": 1.0}, steps=steps)


def trained(folder: Path, steps: int, *, recorded: bool) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Linear(3, 1)
    settings = Schedule(steps=steps, rate=0.05, warmup=2, ema=0.9, log_every=1, save_every=1)
    fit(Run(folder, {"line": model}), task_of(model, recorded=recorded), settings)
    return model


def test_steps_of_kinds_are_the_plain_ones(tmp_path: Path) -> None:
    plain, kinds = (trained(tmp_path / n, 30, recorded=n == "b") for n in "ab")
    for name, value in plain.state_dict().items():
        assert torch.equal(kinds.state_dict()[name], value)
    rows = [(tmp_path / n / "log.jsonl").read_text().count('"error"') for n in "ab"]
    assert rows == [30, 30]


def test_a_run_of_kinds_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 12, recorded=True)
    settings = {"rate": 0.05, "warmup": 2, "ema": 0.9, "log_every": 1, "save_every": 1}
    for steps in (5, 12):
        model = nn.Linear(3, 1)
        if steps == 5:
            torch.manual_seed(1)
            model.reset_parameters()
        task, run = task_of(model, recorded=True), Run(tmp_path / "parts", {"line": model})
        schedule = Schedule(steps=12, **settings)  # type: ignore[arg-type]
        if steps == 5:
            task.after = _stop_after(4)
            with pytest.raises(KeyboardInterrupt):
                fit(run, task, schedule)
        else:
            fit(run, task, schedule)
    for name, value in whole.state_dict().items():
        assert torch.allclose(model.state_dict()[name], value)


def _stop_after(step: int):  # noqa: ANN202
    def after(now: int) -> None:
        if now == step:
            raise KeyboardInterrupt

    return after


def test_a_kind_is_counted_and_rates_are_set() -> None:
    model = nn.Linear(3, 1)
    task = task_of(model, recorded=True)
    groups = [{"params": list(model.parameters()), "scale": 0.5}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    assert task.steps is not None
    replay = Replay(task.steps, task.weights, optimizer, 1.0, lambda line: None)
    for number in range(4):
        parts = replay(number, 0.1)
    assert replay.taken == {1.0: 3, 2.0: 1} and not replay.recordings
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert not parts["error"].requires_grad


def test_a_recorded_step_is_one_micro_batch(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    task, run = task_of(model, recorded=True), Run(tmp_path / "run", {"line": model})
    with pytest.raises(ValueError, match="accumulate 1"):
        fit(run, task, Schedule(steps=2, accumulate=2))
    assert run.step == 0
