"""One training run on disk, and the loop that all trainers share.

A run can be killed at any moment and goes on from its last saved step: modules, their moving
averages, optimiser, step, random state. The loop: gradient accumulation, bf16 inside the losses, an
exponential moving average of the weights (Polyak and Juditsky 1992), a validation table, and the two-stage
schedule: modules named in `later` stand still until the validation loss flattens, then all are
tuned at a lower rate. TensorBoard is written where it is installed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from voxray.config import Config

from .replay import Replay, Steps

Say = Callable[[str], None]


def silent(line: str) -> None:
    """The default listener of a run."""


class Team(Protocol):
    """The processes that train together (`devices`): each takes every `size`-th micro-batch."""

    rank: int
    size: int

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by the team's mean."""
        ...


team: ContextVar[Team | None] = ContextVar("team", default=None)


def leads() -> bool:
    """Whether this process writes: the only one, or the first of its team."""
    mates = team.get()
    return mates is None or mates.rank == 0


class Schedule(Config):
    """How long, how fast, how often: the part that every trainer's settings share."""

    steps: int = 1000
    seconds: float = (
        0.0  # a process trains so long at most, the rate falls with the clock; 0: steps alone
    )
    rate: float = 1e-3
    warmup: int = 100
    accumulate: int = 1  # micro-batches per step
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.999  # of the weights; 0: off
    log_every: int = 20
    save_every: int = 100
    validate_every: int = 0  # 0: never
    patience: int = 3  # validations without gain: the loss is flat
    gain: float = 0.005  # the least relative gain that counts
    joint_rate: float = 0.2  # share of the rate once everything is tuned
    seed: int = 1
    device: str = "cpu"  # auto: the first GPU where there is one
    workers: int = 0  # processes that make batches ahead


@dataclass
class Task:
    """What a trainer gives to `fit`.

    `losses(n)` are those of micro-batch n; those with a weight are summed. `validate` gives a row
    whose `loss` decides when the first stage ends. `before` and `after` frame each step.
    """

    groups: list[dict[str, Any]]
    losses: Callable[[int], dict[str, Tensor]]
    weights: Mapping[str, float]
    later: Sequence[nn.Module] = ()
    validate: Callable[[], dict[str, float]] | None = None
    before: Callable[[int], None] | None = None
    after: Callable[[int], None] | None = None
    betas: tuple[float, float] = (0.9, 0.98)
    decay: float = 0.01
    steps: Steps | None = None  # in place of `losses`, of tasks whose steps are to be recorded


@dataclass
class Progress:
    """What a run remembers beside weights."""

    step: int = 0
    best: float = float("inf")
    stale: int = 0  # validations since the best
    joint: bool = False  # the second stage has begun
    average: dict[str, Tensor] = field(default_factory=dict)


class Run:
    """A folder `runs/NAME` with `state.pt`, `log.jsonl` and optional TensorBoard events."""

    def __init__(self, folder: Path, modules: Mapping[str, nn.Module]) -> None:
        self.folder = folder
        self.modules = dict(modules)
        self.progress = Progress()
        self.started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.board = _board(folder) if leads() else None

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.step

    def resume(self, optimizer: torch.optim.Optimizer | None = None) -> bool:
        """Load the last state, if any; True if there was one."""
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        if optimizer is not None and state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
            for group in optimizer.param_groups:  # how to step is this run's choice
                group["fused"] = optimizer.defaults.get("fused")
                group["capturable"] = optimizer.defaults.get("capturable", False)
        known = ("step", "best", "stale", "joint", "average")
        self.progress = Progress(**{k: state[k] for k in known if k in state})
        places = {name: parameter.device for name, parameter in self.named()}
        average = self.progress.average
        self.progress.average = {k: v.to(places[k]) for k, v in average.items()}
        torch.set_rng_state(state["rng"])
        return True

    def save(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Write the state beside the old one, then rename."""
        if not leads():
            return
        state = {
            "modules": {name: m.state_dict() for name, m in self.modules.items()},
            "optimizer": optimizer.state_dict() if optimizer else None,
            "rng": torch.get_rng_state(),
            **vars(self.progress),
        }
        beside = self.folder / "state.pt.part"
        torch.save(state, beside)
        beside.replace(self.folder / "state.pt")

    def describe(self, schedule: Schedule) -> None:
        """Keep the settings beside the weights: `settings.json`."""
        if not leads():
            return
        text = schedule.model_dump_json(indent=1)
        (self.folder / "settings.json").write_text(text, encoding="utf-8")

    def log(self, kind: str = "loss", **values: float) -> None:
        """Append one row of numbers."""
        if not leads():
            return
        seconds = round(time.monotonic() - self.started, 1)
        row = {"step": self.step, "seconds": seconds, "kind": kind}
        row.update({k: round(v, 4) for k, v in values.items()})
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.board is not None:
            for key, value in values.items():
                self.board.add_scalar(f"{kind}/{key}", value, self.step)

    def table(self, values: Mapping[str, float]) -> None:
        """Append one row to `validation.md`, with a head where the table begins."""
        if not leads():
            return
        path = self.folder / "validation.md"
        head = "" if path.exists() else "| step | " + " | ".join(values) + " |\n"
        head += "" if path.exists() else "|" + " ---: |" * (len(values) + 1) + "\n"
        row = f"| {self.step} | " + " | ".join(f"{v:.4f}" for v in values.values()) + " |\n"
        with path.open("a", encoding="utf-8") as file:
            file.write(head + row)

    def hear(self, name: str, wave: np.ndarray, rate: int) -> None:
        """Sound and spectrogram of a wave [N] on the board; speech as a file goes through the engine."""
        if self.board is None:
            return
        window = torch.hann_window(1024)
        bins = torch.stft(torch.from_numpy(wave), 1024, 256, window=window, return_complex=True)
        level = (20 * (bins.abs() + 1e-4).log10() / 80 + 1).clamp(0, 1).flip(0)  # [F, T]
        self.board.add_audio(name, wave[None], self.step, rate)
        self.board.add_image(name, level[None].numpy(), self.step)

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters, by module and name."""
        for name, module in self.modules.items():
            for key, parameter in module.named_parameters():
                yield f"{name}.{key}", parameter

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the weights; faster at the start of a run."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        average = self.progress.average
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        for name, parameter in self.named():
            if not parameter.requires_grad:
                continue
            if name not in average:
                average[name] = parameter.detach().clone()
            ours.append(average[name])
            theirs.append(parameter.detach())
        if ours:
            get_ema_multi_avg_fn(decay)(ours, theirs, 0)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average in place of the weights, for a while."""
        kept = {name: p.data for name, p in self.named() if name in self.progress.average}
        try:
            self._put(self.progress.average)
            yield
        finally:
            self._put(kept)

    def finish(self) -> None:
        """Leave the modules with their averaged weights."""
        self._put({name: value.clone() for name, value in self.progress.average.items()})

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.named():
            if name in values:
                parameter.data = values[name]


def fit(run: Run, task: Task, schedule: Schedule, say: Say = silent) -> None:
    """Train to `schedule.steps` or for `schedule.seconds`, whichever ends first, from where the run's folder
    stands; ends with averaged weights.
    """
    groups = [{"scale": 1.0, **group} for group in task.groups]
    on_gpu = any(p.is_cuda for group in groups for p in group["params"])
    optimizer = torch.optim.AdamW(
        groups, lr=schedule.rate, betas=task.betas, weight_decay=task.decay, fused=True,
        capturable=on_gpu and task.steps is not None,
    )  # fmt: skip
    run.resume(optimizer)
    run.describe(schedule)
    _freeze(task.later, run.progress.joint)
    replay = None
    if task.steps is not None:
        if schedule.accumulate != 1 or team.get() is not None:
            raise ValueError(
                "replay: a recorded step is one micro-batch of one process: accumulate 1"
            )
        replay = Replay(task.steps, task.weights, optimizer, schedule.clip, say)
    began = time.monotonic()
    while run.step < schedule.steps:
        spent = (time.monotonic() - began) / schedule.seconds if schedule.seconds else 0.0
        if spent >= 1.0:
            break
        if task.before is not None:
            task.before(run.step)
        if replay is None:
            parts = _one_step(run, task, schedule, optimizer, spent)
        else:
            rate = warm(run.step, schedule.steps, schedule.rate, schedule.warmup, spent)
            parts = replay(run.step, rate)
        if task.after is not None:
            task.after(run.step)
        run.progress.step += 1
        if schedule.ema:
            run.follow(schedule.ema)
        if run.step % schedule.log_every == 0:
            numbers = {k: float(v.detach()) for k, v in parts.items()}
            run.log(**numbers)
            say(f"{run.step} " + " ".join(f"{k} {v:.3f}" for k, v in numbers.items()))
        if task.validate and schedule.validate_every and run.step % schedule.validate_every == 0:
            _validate(run, task, schedule, say)
        if run.step % schedule.save_every == 0:
            run.save(optimizer)
    run.save(optimizer)
    run.finish()


def _one_step(
    run: Run, task: Task, schedule: Schedule, optimizer: torch.optim.Optimizer, spent: float
) -> dict[str, Tensor]:
    rate = warm(run.step, schedule.steps, schedule.rate, schedule.warmup, spent)
    for group in optimizer.param_groups:
        group["lr"] = group["scale"] * rate * (schedule.joint_rate if run.progress.joint else 1.0)
    optimizer.zero_grad(set_to_none=True)
    parts: dict[str, Tensor] = {}
    mates = team.get()
    for k in range(schedule.accumulate):
        number = run.step * schedule.accumulate + k
        parts = task.losses(number if mates is None else number * mates.size + mates.rank)
        total = torch.stack([w * parts[name] for name, w in task.weights.items()]).sum()
        (total / schedule.accumulate).backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    if mates is not None:
        mates.average(trained)
    torch.nn.utils.clip_grad_norm_(trained, schedule.clip)
    optimizer.step()
    return parts


def _validate(run: Run, task: Task, schedule: Schedule, say: Say) -> None:
    if task.validate is None:
        return
    states = {m: m.training for m in run.modules.values()}
    with run.averaged(), torch.no_grad():
        for module in states:
            module.eval()
        row = task.validate()
        for module, training in states.items():
            module.train(training)
    run.log("validation", **row)
    run.table(row)
    say(f"{run.step} validation " + " ".join(f"{k} {v:.4f}" for k, v in row.items()))
    progress = run.progress
    if row["loss"] < progress.best * (1 - schedule.gain):
        progress.best, progress.stale = row["loss"], 0
    else:
        progress.stale += 1
    if task.later and not progress.joint and progress.stale >= schedule.patience:
        progress.joint, progress.stale = True, 0
        _freeze(task.later, True)
        say(f"{run.step} the loss is flat: joint tuning begins")


def _freeze(modules: Sequence[nn.Module], joint: bool) -> None:
    for module in modules:
        module.requires_grad_(joint)


def _board(folder: Path) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def warm(step: int, steps: int, peak: float, warmup: int = 100, spent: float = 0.0) -> float:
    """Learning rate: linear rise, then a half cosine to a twentieth of the peak; it falls with the steps or with the
    share of the time that is `spent`, whichever is further.
    """
    done = max(spent, (step - warmup) / max(1, steps - warmup))
    cosine = 0.5 * (1 + float(np.cos(min(1.0, max(0.0, done)) * np.pi)))
    return min(1.0, (step + 1) / max(1, warmup)) * peak * (0.05 + 0.95 * cosine)
