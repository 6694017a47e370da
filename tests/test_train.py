"""The trainers on a made-up store: they learn, go on after a kill, and keep to the two stages."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from voxray.config import GPTConfig
from voxray.train import run as run_module
from voxray.train.feed import half, place
from voxray.train.gpt import GPTTraining, train_gpt
from voxray.train.run import Run, Schedule, Task, fit
from voxray.train.said import write_said
from voxray.train.segments import spoilt
from voxray.train.store import Entry, Store, write_index

SMALL = GPTConfig(width=32, n_layer=2, n_head=2, codebook_size=16, guided_heads=((1, 0),))
SETTINGS = GPTTraining(
    model=SMALL, steps=8, batch=2, max_tokens=40, max_phones=20, save_every=1, log_every=2,
    warmup=2, validate_every=4,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Eight clips of 0.8 s; the token tells the phoneme."""
    folder = tmp_path / "store"
    folder.mkdir()
    rng = np.random.default_rng(0)
    entries = [
        Entry(f"c{i}", f"s{i % 2}", "en", "x", "dev" if i == 7 else "train", 8000, False, i * 19200, 19200)
        for i in range(8)
    ]  # fmt: skip
    write_index(folder, entries)
    rng.integers(-900, 900, 8 * 19200).astype("<i2").tofile(folder / "wave.i16")
    rows, tokens = [], np.zeros(160, "<i2")
    for i, entry in enumerate(entries):
        ids = rng.integers(1, 9, 4).tolist()
        rows.append(
            {"name": entry.name, "ids": ids, "spans": [[10 * k, 10 * k + 10] for k in range(4)]}
        )
        tokens[20 * i : 20 * i + 20] = np.repeat(ids, 5)
    tokens.tofile(folder / "tokens.i16")
    (folder / "labels.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


def test_gpt_learns_and_writes_its_table(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = SETTINGS.model_copy(
        update={"steps": 60, "rate": 5e-3, "validate_every": 30, "save_every": 30}
    )
    train_gpt(store, out, settings)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [row["token"] for row in rows if row["kind"] == "loss"]
    assert losses[-1] < 0.7 * losses[0]
    table = (out / "validation.md").read_text().splitlines()
    assert table[0].startswith("| step | loss |")
    assert [line.split("|")[1].strip() for line in table[2:]] == ["30", "60"]


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from voxray.train.gpt import GPTTraining, train_gpt

store, out, moment = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[4])

def kill() -> None:
    while not (out / "state.pt").exists():
        time.sleep(0.001)
    time.sleep(moment)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=kill, daemon=True).start()
train_gpt(store, out, GPTTraining.model_validate_json(sys.argv[3]))
"""


def test_a_killed_run_ends_as_if_it_had_not_been(store: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 60, "validate_every": 0})
    whole = train_gpt(store, tmp_path / "whole", settings)
    out = tmp_path / "killed"
    moment = np.random.default_rng().uniform(0.0, 0.05)  # any
    code = [str(store), str(out), settings.model_dump_json(), str(moment)]
    ended = subprocess.run([sys.executable, "-c", KILLED, *code], check=False)
    assert ended.returncode == -signal.SIGKILL, moment
    state = torch.load(out / "state.pt", weights_only=True)  # whole at any moment
    assert 1 <= state["step"] < settings.steps
    again = train_gpt(store, out, settings)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_batches_made_ahead_train_the_same_model(store: Path, tmp_path: Path) -> None:
    alone = train_gpt(store, tmp_path / "alone", SETTINGS)
    ahead = train_gpt(store, tmp_path / "ahead", SETTINGS.model_copy(update={"workers": 2}))
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(ahead.state_dict()[name], value, msg=name)


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert place(Schedule(device="auto")).type == "cpu"
    with pytest.raises(ValueError, match='"device": "cpu"'):
        place(Schedule(device="cuda"))


def test_resume_is_exact(store: Path, tmp_path: Path) -> None:
    whole = train_gpt(store, tmp_path / "whole", SETTINGS)

    class Break(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("6 "):
            raise Break

    with pytest.raises(Break):
        train_gpt(store, tmp_path / "cut", SETTINGS, stop)
    again = train_gpt(store, tmp_path / "cut", SETTINGS)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_text_encoder_stands_still_until_the_loss_is_flat(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text, rest = nn.Linear(2, 2), nn.Linear(2, 2)
    before = text.weight.detach().clone()
    moved: list[bool] = []
    x = torch.randn(8, 2)

    def losses(number: int) -> dict[str, torch.Tensor]:
        return {"loss": rest(text(x)).square().mean()}

    def validate() -> dict[str, float]:
        moved.append(not torch.equal(text.weight, before))
        return {"loss": 1.0}  # never better: flat

    run = Run(tmp_path, {"text": text, "rest": rest})
    groups = [{"params": [*text.parameters(), *rest.parameters()]}]
    task = Task(groups, losses, {"loss": 1.0}, later=[text], validate=validate)
    fit(run, task, Schedule(steps=12, validate_every=2, patience=2, warmup=1, ema=0.0))
    assert moved == [False, False, False, True, True, True]
    assert run.progress.joint


def test_a_run_by_the_clock_ends_with_the_clock_and_its_rate_falls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, now = nn.Linear(2, 2), [0.0]
    rates: list[float] = []
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])

    def losses(number: int) -> dict[str, torch.Tensor]:
        now[0] += 1.0
        return {"loss": layer(torch.ones(2)).square().mean()}

    def warm(*known: float) -> float:
        rates.append(run_module_warm(*known))
        return rates[-1]

    run_module_warm = run_module.warm
    monkeypatch.setattr(run_module, "warm", warm)
    run = Run(tmp_path, {"layer": layer})
    task = Task([{"params": list(layer.parameters())}], losses, {"loss": 1.0})
    fit(run, task, Schedule(steps=1000, seconds=20.0, warmup=1, rate=1.0))
    assert run.step == 20
    assert rates[0] == 1.0 and rates == sorted(rates, reverse=True) and rates[-1] < 0.07


def test_accumulated_batches_equal_one_large_one(tmp_path: Path) -> None:
    x = torch.arange(8.0).view(8, 1) / 8

    def trained(accumulate: int, name: str) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(1, 1)
        size = 8 // accumulate

        def losses(number: int) -> dict[str, torch.Tensor]:
            part = number % accumulate
            return {"loss": (layer(x[part * size : (part + 1) * size]) - 1).square().mean()}

        task = Task([{"params": list(layer.parameters())}], losses, {"loss": 1.0})
        schedule = Schedule(steps=5, warmup=1, accumulate=accumulate, ema=0.0)
        fit(Run(tmp_path / name, {"layer": layer}), task, schedule)
        return layer.weight.detach()

    torch.testing.assert_close(trained(4, "four"), trained(1, "one"))


def test_a_half_written_feature_file_does_not_count(store: Path) -> None:
    corpus = Store(store)
    with pytest.raises(RuntimeError), corpus.fill("f0.f16", "float16", 240) as values:
        values[0] = 1
        raise RuntimeError
    assert not corpus.whole("f0.f16", "float16", 240)
    with corpus.fill("f0.f16", "float16", 240) as values:
        values[:] = 1
    assert corpus.whole("f0.f16", "float16", 240)


def test_what_the_gpt_would_say_is_written_and_spoils_tokens(store: Path, tmp_path: Path) -> None:
    model = train_gpt(store, tmp_path / "run", SETTINGS.model_copy(update={"steps": 2}))
    share = write_said(store, model.eval(), 0.6)
    said = np.fromfile(store / "said.i16", np.int16)
    tokens = np.fromfile(store / "tokens.i16", np.int16)
    assert said.shape == tokens.shape and said.min() >= 0 and said.max() < 16
    assert share == pytest.approx((said == tokens).mean())
    rows, other = torch.zeros(40, 50, dtype=torch.long), torch.ones(40, 50, dtype=torch.long)
    mixed = spoilt(rows, other, 0.4, torch.Generator().manual_seed(0))
    assert 0.15 < float(mixed.float().mean()) < 0.45
    assert 4 <= int((mixed.sum(1) == 0).sum()) <= 20  # about a fourth of the rows stays whole


@pytest.mark.parametrize("halves", [False, True])
def test_bfloat16_is_used_only_where_the_processor_has_it(
    halves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxray.train.feed.multiplies_bf16", lambda: halves)
    with half(torch.device("cpu")):
        made = torch.nn.Linear(4, 4)(torch.zeros(1, 4))
    assert made.dtype == (torch.bfloat16 if halves else torch.float32)
