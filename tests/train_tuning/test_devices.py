"""Two processes learn what one learns with twice the micro-batches; one device starts no process group."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from voxray.train.devices import FabricTeam, launch
from voxray.train.run import Run, Schedule, Task, fit, team


def learn(folder: str, accumulate: int) -> None:
    """A small regression with a clipped gradient; batches by number."""
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    wanted = torch.arange(8.0).view(2, 4) / 4

    def losses(number: int) -> dict[str, Tensor]:
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(number))
        return {"gap": (model(x) - x @ wanted.t()).square().mean()}

    schedule = Schedule(
        steps=12, rate=0.05, warmup=1, accumulate=accumulate, clip=0.5, log_every=1, save_every=5
    )
    task = Task([{"params": list(model.parameters())}], losses, {"gap": 1.0})
    fit(Run(Path(folder), {"model": model}), task, schedule)


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)["modules"]["model"]


def curve(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["gap"] for line in lines]


class Alone:
    """A stand-in for a fabric of two, whose mate has the opposite gradient."""

    global_rank, world_size = 1, 2

    def all_reduce(self, flat: Tensor, reduce_op: str) -> Tensor:
        assert reduce_op == "mean"
        return flat * 0.5


def test_gradients_are_averaged_and_missing_ones_are_zero() -> None:
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(3, 1)])
    model[0](torch.ones(1, 2)).sum().backward()
    FabricTeam(Alone()).average(list(model.parameters()))
    assert model[0].weight.grad is not None
    assert model[0].weight.grad.tolist() == [[0.5, 0.5]]
    assert model[1].bias.grad is not None
    assert model[1].bias.grad.tolist() == [0.0]


def test_only_the_first_of_a_team_writes(tmp_path: Path) -> None:
    token = team.set(FabricTeam(Alone()))
    try:
        learn(str(tmp_path / "second"), 1)
    finally:
        team.reset(token)
    assert list((tmp_path / "second").iterdir()) == []


def test_one_device_is_the_plain_call(tmp_path: Path) -> None:
    launch(1, learn, str(tmp_path / "one"), 1)
    assert not torch.distributed.is_initialized()
    assert len(curve(tmp_path / "one")) == 12
    with pytest.raises(ValueError, match="0 devices"):
        launch(0, learn)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    learn(str(tmp_path / "one"), 2)
    launch(2, learn, str(tmp_path / "two"), 1)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    gaps = curve(tmp_path / "two")
    assert gaps[-1] < 0.5 * gaps[0]
    assert len(gaps) == 12  # one process wrote
