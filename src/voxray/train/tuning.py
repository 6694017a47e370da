"""A minute makes a voice: generator and GPT of a whole model tuned on one speaker's clips.

In: a bundle and a store of one voice (`voice_store`). Each part is tuned in turn, in full or by adapters of a rank,
from the bundle's weights: the generator as in `tuning_generator`, the GPT by next-token cross-entropy. Every
`check_every` steps the averaged weights are judged; the best are kept and patience ends the part. Step 0
counts: tuning never leaves a part worse than it was by its own check. A killed run goes on exactly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voxray.bundle import Bundle
from voxray.models.discriminators import SpectralDiscriminators
from voxray.models.generator import Generator
from voxray.models.posterior import Posterior
from voxray.models.posterior_mel import MelPosterior
from voxray.models.student import Student

from .adapters import LowRank, adapt, merge
from .gpt import GPTTraining, Sequences, gpt_losses
from .label import check_front_end
from .parts import Check, Part, Tuning
from .run import Run, Say, silent, warm
from .tuning_generator import generator_part
from .tuning_published import check_posterior


def gpt_part(bundle: Bundle, store: Path, config: Tuning, check: Check | None) -> Part:
    """The GPT's part."""
    model = bundle.gpt
    data, held = Sequences(store), Sequences(store, "dev")
    rows = [seq.clip(entry) for seq in (data, held) for entry in seq.entries]
    if not held.entries:
        raise ValueError(f"the store {store} has no held-out clips")
    sizes = GPTTraining(
        model=model.config,
        batch=config.gpt_batch,
        max_tokens=max(190, *(len(row.tokens) for row in rows)),
        max_phones=max(120, *(len(row.ids) for row in rows)),
    )

    def losses(number: int) -> dict[str, Tensor]:
        batch = data.batch(sizes, np.random.default_rng((config.seed, number)))
        return gpt_losses(model, batch, torch.Generator().manual_seed(number), config.spoil)

    def loss_on_held() -> dict[str, float]:
        batch = held.batch(sizes, np.random.default_rng(0))
        parts = gpt_losses(model, batch, torch.Generator().manual_seed(0))
        return {"score": -float(parts["token"]), **{k: float(v) for k, v in parts.items()}}

    return Part(
        "gpt", model, losses, {"token": 1.0, "guide": config.guide}, config.gpt_steps,
        config.gpt_rate, check or loss_on_held,
    )  # fmt: skip


def tune_part(part: Part, out: Path, config: Tuning, say: Say = silent) -> dict[str, float]:
    """Tune one part to its end and leave its module with the best weights; returns the best check's row. What is judged and
    kept is the part's share of the way from the weights before.

    The mean of weights before and after fine-tuning keeps most of what was gained and forgets less of what was known
    (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903, section 3).
    """
    torch.manual_seed(config.seed)  # dropout
    module = part.module
    if part.learns is not None:
        groups = part.learns(config)
    elif config.rank:
        scale = config.adapter_rate / part.rate
        groups = [{"params": adapt(module, config.rank, config.seed), "scale": scale}]
    else:
        module.requires_grad_(True)
        for name, inner in module.named_modules():
            if name in ("posterior", *config.still):
                inner.requires_grad_(False)
        groups = [{"params": [p for p in module.parameters() if p.requires_grad], "scale": 1.0}]
    before = _before(module) if part.share < 1.0 else {}
    beside = {} if part.beside is None else {"judge": part.beside}
    run = Run(out, {part.name: module, **beside})
    try:
        with _dropout(module, 0.0 if part.learns is not None else config.dropout):
            _loop(run, part, groups, before, config, say)
        state = torch.load(out / "best.pt", map_location="cpu", weights_only=True)
        module.load_state_dict(state["weights"])
    finally:
        merge(module).eval()
    return state["row"]


def _before(module: nn.Module) -> dict[str, Tensor]:
    """What is to be trained as it is; of adapters the one of two maps that is zero, so that a share of it is a share of both."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    still = {f"{name}.down" for name, inner in module.named_modules() if isinstance(inner, LowRank)}
    return {name: p.detach().clone() for name, p in trained.items() if name not in still}


@contextmanager
def _partly(module: nn.Module, before: dict[str, Tensor], share: float) -> Iterator[None]:
    """A share of the way from the weights before, for a while."""
    tuned = {name: module.get_parameter(name).data for name in before}
    try:
        for name, value in before.items():
            module.get_parameter(name).data = torch.lerp(value, tuned[name], share)
        yield
    finally:
        for name, value in tuned.items():
            module.get_parameter(name).data = value


def _loop(
    run: Run, part: Part, groups: list[dict[str, Any]], before: dict[str, Tensor], config: Tuning, say: Say
) -> None:  # fmt: skip
    trained = [parameter for group in groups for parameter in group["params"]]
    if part.beside is not None:
        groups = [*groups, {"params": list(part.beside.parameters()), "scale": 1.0}]
    optimizer = torch.optim.AdamW(groups, lr=part.rate, betas=(0.9, 0.98), weight_decay=0.01)
    if not run.resume(optimizer):
        _judge(run, part, before, say)
        _save(run, optimizer)
    part.module.train()
    began = time.monotonic()
    while run.step < part.steps and run.progress.stale < config.patience:
        if config.minutes and time.monotonic() - began > 60 * config.minutes:
            say(f"{part.name} {run.step}: the time is up")
            break
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * warm(run.step, part.steps, part.rate, config.warmup)
        optimizer.zero_grad(set_to_none=True)
        parts = part.losses(run.step)
        torch.stack([w * parts[name] for name, w in part.weights.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(trained, config.clip)
        optimizer.step()
        run.progress.step += 1
        run.follow(config.ema)
        run.log(part.name, **{name: float(value.detach()) for name, value in parts.items()})
        if run.step % config.check_every == 0 or run.step == part.steps:
            _judge(run, part, before, say)
        if run.step % config.save_every == 0:
            _save(run, optimizer)
    _save(run, optimizer)


def _judge(run: Run, part: Part, before: dict[str, Tensor], say: Say) -> None:
    """Judge the averaged weights, the part's share of the way there, and keep them if they are the best so far."""
    module = part.module
    with run.averaged(), _partly(module, before, part.share), torch.no_grad():
        module.eval()
        row = {**part.check(), "step": float(run.step)}
        better = -row["score"] < run.progress.best
        if better:
            _write(run.folder / "best.pt", {"weights": module.state_dict(), "row": row})
        module.train()
    run.progress.stale = 0 if better else run.progress.stale + 1
    run.progress.best = min(run.progress.best, -row["score"])
    run.log("check", **row)
    numbers = " ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "step")
    say(f"{part.name} {run.step} of {part.steps}: {numbers}{' *' if better else ''}")


def _save(run: Run, optimizer: torch.optim.Optimizer) -> None:
    try:
        run.save(optimizer)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError when the disk is full
        (run.folder / "state.pt.part").unlink(missing_ok=True)
        raise OSError(_lost(run.folder / "state.pt", error)) from error


def _write(path: Path, state: dict[str, object]) -> None:
    beside = path.with_name(f".{path.name}.part")
    try:
        torch.save(state, beside)
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        raise OSError(_lost(path, error)) from error
    finally:
        beside.unlink(missing_ok=True)


def _lost(path: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or "the disk may be full"
    return (
        f"cannot write {path}: {reason}; free some space and start again: "
        "it goes on from the checkpoint before, which is whole"
    )


@contextmanager
def _dropout(module: nn.Module, share: float) -> Iterator[None]:
    """Dropout while a part is tuned; none has any in a model that speaks."""
    layers = [m for m in module.modules() if isinstance(m, nn.Dropout)]
    kept = [layer.p for layer in layers]
    try:
        for layer in layers:
            layer.p = share
        yield
    finally:
        for layer, p in zip(layers, kept, strict=True):
            layer.p = p


def can_be_tuned(bundle: Bundle, only: str = "", posterior: nn.Module | None = None) -> None:
    """ValueError for a student's GPT stage, which learns from its teacher, not from a minute of speech, and for a published
    SoVITS stage without its posterior.
    """
    if only != "generator" and isinstance(bundle.gpt, Student):
        raise ValueError(
            f"the GPT stage of {bundle.name!r} is a student, which is taught, not tuned: tune its generator "
            "alone (--only generator), or another model"
        )
    if only != "gpt" and bundle.config.version and isinstance(bundle.generator, Generator):
        check_posterior(posterior)


def tune(
    bundle: Bundle,
    store: Path,
    out: Path,
    config: Tuning,
    *,
    only: str = "",
    posterior: MelPosterior | Posterior | None = None,
    judge: SpectralDiscriminators | None = None,
    check: Check | None = None,
    say: Say = silent,
) -> dict[str, dict[str, float]]:
    """Tune the bundle in place, generator first; returns each part's best row. Resumes from `out`."""
    check_front_end(f"the weights of {bundle.name}", bundle.fingerprint, bundle.text_pipeline())
    can_be_tuned(bundle, only, posterior)
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text(config.model_dump_json(indent=1), encoding="utf-8")
    rows: dict[str, dict[str, float]] = {}
    builders = {"generator": partial(generator_part, judge=judge), "gpt": gpt_part}
    if only and only not in builders:
        raise ValueError(f"no part named {only!r}; there are: {', '.join(builders)}")
    for name in [only] if only else list(builders):
        if name == "generator" and isinstance(bundle.generator, Generator):
            bundle.generator.posterior = posterior
        part = builders[name](bundle, store, config, check)
        try:
            rows[name] = tune_part(part, out / name, config, say)
        finally:
            if name == "generator" and isinstance(bundle.generator, Generator):
                bundle.generator.posterior = None
    (out / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return rows
