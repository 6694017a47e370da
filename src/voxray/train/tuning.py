"""A minute makes a voice: generator and GPT of a whole model tuned on one speaker's clips.

In: a bundle and a store of one voice (`voice_store`). Each part is tuned in turn, in full or by adapters of a rank,
from the bundle's weights: the generator by what its prior's mean sounds like beside the recording (to a spectral
loss, the content encoder and, where its weights are there, a speaker encoder: Casanova et al. 2022, YourTTS, eq. 1;
and, where the training weights are there, by the posterior's latents), the GPT by next-token cross-entropy. Every
`check_every` steps the averaged weights are judged; the best are kept and patience ends the part. Step 0
counts: tuning never leaves a part worse than it was by its own check. A killed run goes on exactly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from voxray.bundle import Bundle
from voxray.config import MelPosteriorConfig
from voxray.models.decoder_istft import IstftDecoder
from voxray.models.generator import Generator
from voxray.models.posterior import Posterior
from voxray.models.posterior_mel import PITCH_LATENTS, MelPosterior, pitch_latents
from voxray.models.student import Student
from voxray.packaged import home
from voxray.tokens.content import ContentEncoder, Readout

from .adapters import adapt, merge
from .autoencoder import spectral_loss
from .feed import half
from .gpt import GPTTraining, Sequences, gpt_losses
from .label import check_front_end
from .listening import Listener, likeness_loss, words_loss
from .parts import Check, Part, Tuning
from .prior import guide_loss, mel_error, predict, remember
from .rehearsal import Rehearsed, put_in, rehearsal_losses, rehearse
from .run import Run, Say, Schedule, silent, warm
from .segments import Aligned, Size, memory_of, sample_latents
from .speakers import SPEAKERS, SpeakerTeacher, embed_speakers
from .store import RATE
from .tuning_published import check_posterior, published_part, published_posterior

LEAST_HEARD = 40  # tokens, of a segment that a speaker encoder hears: 1.6 s
TOKEN_SAMPLES = 960  # at 24 kHz
HEARD_SECONDS = 30.0  # of the voice, when sentences are rehearsed
TRAINING_FILE = "training.safetensors"  # posterior and readout, beside a bundle's weights


def training_parts(
    folder: Path, bundle: Bundle
) -> tuple[MelPosterior | Posterior | None, Readout | None]:
    """Posterior and readout from the optional file beside a bundle; None where it is not there. A published model's
    posterior lies among its own weights, if its file held one.
    """
    if bundle.config.version:
        return published_posterior(folder, bundle), None
    path = folder / TRAINING_FILE
    if bundle.config.base and not path.is_file():
        path = home(bundle.config.base) / TRAINING_FILE
    config = bundle.config.generator
    if not path.is_file() or not isinstance(getattr(config, "posterior", None), MelPosteriorConfig):
        return None, None
    state = {name: value.float() for name, value in load_file(path).items()}
    posterior = MelPosterior(config.posterior)  # type: ignore[union-attr, arg-type]
    readout = Readout(bundle.config.content)
    for name, module in (("posterior", posterior), ("readout", readout)):
        start = f"{name}."
        own = {k[len(start) :]: v for k, v in state.items() if k.startswith(start)}
        if not own:
            raise ValueError(f"{path} holds no {name}")
        module.load_state_dict(own)
    return posterior.eval(), readout.eval()


def generator_losses(
    model: Generator,
    batch: list[Tensor],
    step: int,
    spoil: float,
    listener: Listener | None = None,
    teacher: SpeakerTeacher | None = None,
) -> dict[str, Tensor]:
    """Spectral loss of what the prior's mean sounds like, its pitch, the guide, and, where there is a
    posterior, the distance of its log-mel from the recording's latents; with a listener, the words' loss.
    """
    wave, f0, band = batch[0], batch[5], batch[6]
    dice = torch.Generator().manual_seed(step)
    out, speaker, pattern = predict(model, batch, dice, spoil)
    with half(wave.device):
        z = model.flow.inverse(out.mean, out.mask, speaker)
        fine = model.detailed(z, model.features(batch[1]), model.heard(memory_of(batch)))
        true = pitch_latents(f0).transpose(1, 2)  # so that both waves sing in step
        fine = torch.cat([true, fine[:, PITCH_LATENTS:]], dim=1)
        made = model.decoder(fine, None, torch.randn(wave.shape, generator=dice), f0)
    pitch = (z[:, :PITCH_LATENTS].float() - true).abs().mean()
    parts = {
        "spectrum": spectral_loss(made.audio, wave, band),
        "pitch": pitch,
        "guide": guide_loss(pattern, batch[7])[0],
    }
    if listener is not None:
        parts["words"] = words_loss(listener, made.audio, wave)
    if teacher is not None:
        parts["likeness"] = likeness_loss(teacher, made.audio, batch[8])
    if model.posterior is not None:
        with torch.no_grad():
            sample, _ = sample_latents(model, wave, f0, dice, moved=True)
        parts["copy"] = mel_error(model, z, sample)
    return parts


def generator_part(bundle: Bundle, store: Path, config: Tuning, check: Check | None) -> Part:
    """The generator's part; ValueError for generators that this cannot tune."""
    model = bundle.generator
    if bundle.config.version:
        return published_part(bundle, store, config, check)
    if not isinstance(model, Generator) or not isinstance(model.decoder, IstftDecoder):
        raise ValueError("only generators like mini's and published ones can be tuned")
    teacher = _teacher(store, config)
    data, held = _aligned(store, "train"), _aligned(store, "dev")
    remember(store, model, data, held)
    longest = min(max(e.samples // TOKEN_SAMPLES for e in part.entries) for part in (data, held))
    size = Size(config.batch, min(config.segment_tokens, longest), config.max_phones)
    if size.segment_tokens < LEAST_HEARD:
        teacher = None
    hears = config.words > 0 and isinstance(bundle.content, ContentEncoder)
    listener = Listener(bundle.content, bundle.quantiser) if hears else None

    again = Size(config.rehearse, size.segment_tokens, config.max_phones)
    clips = _rehearsed(bundle, data, config, again, listener)

    def losses(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        batch = data.aligned(size, rng)
        parts = generator_losses(model, batch, number, config.spoil, listener, teacher)
        if clips:
            batch = put_in(data.aligned(again, rng), clips, again, rng)
            parts |= rehearsal_losses(model, batch, number, listener, teacher)
        return parts

    def loss_on_held() -> dict[str, float]:
        parts = [
            generator_losses(
                model, held.aligned(size, np.random.default_rng((0, n))), n, 0.0, listener
            )
            for n in range(3)
        ]
        rows = {name: float(np.mean([float(p[name]) for p in parts])) for name in parts[0]}
        return {"score": -rows["spectrum"] - 0.2 * rows["pitch"], **rows}

    weights = {"spectrum": 1.0, "pitch": 0.3, "guide": config.guide}
    if listener is not None:
        weights["words"] = config.words
    if teacher is not None:
        weights["likeness"] = config.likeness
    if model.posterior is not None:
        weights["copy"] = 1.0
    if clips:
        weights["kept"] = config.kept
        weights |= {"alike": config.alike} if teacher is not None else {}
    return Part(
        "generator", model, losses, weights, config.generator_steps, config.generator_rate,
        check or loss_on_held,
    )  # fmt: skip


def _rehearsed(
    bundle: Bundle, data: Aligned, config: Tuning, size: Size, listener: Listener | None
) -> list[Rehearsed]:
    """Sentences beyond the clips, long enough; none where nobody listens whether they stay said."""
    if listener is None or not size.batch:
        return []
    wave = np.concatenate([data.store.audio(entry) for entry in data.entries])
    clips = rehearse(bundle, data.store, wave[: round(HEARD_SECONDS * RATE)], config.seed)
    return [clip for clip in clips if len(clip.tokens) >= size.segment_tokens]


def _teacher(store: Path, config: Tuning) -> SpeakerTeacher | None:
    """Who hears whether it sounds like the speaker; None without its weights. Writes what its clips sound like."""
    if not config.likeness or not config.teacher:
        return None
    if not (store / SPEAKERS).is_file():
        embed_speakers(store, Path(config.teacher), Schedule())
    return SpeakerTeacher.load(Path(config.teacher)).requires_grad_(False)


def _aligned(store: Path, split: str) -> Aligned:
    data = Aligned(store, split)
    if not data.entries:
        raise ValueError(f"the store {store} has no {split} clips")
    return data


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
    """Tune one part to its end and leave its module with the best weights; returns the last check's row."""
    torch.manual_seed(config.seed)  # dropout
    module = part.module
    if part.learns is not None:
        groups = part.learns(config)
    elif config.rank:
        scale = config.adapter_rate / part.rate
        groups = [{"params": adapt(module, config.rank, config.seed), "scale": scale}]
    else:
        module.requires_grad_(True)
        for name in ("posterior", *config.still):
            if isinstance(getattr(module, name, None), nn.Module):
                getattr(module, name).requires_grad_(False)
        groups = [{"params": [p for p in module.parameters() if p.requires_grad], "scale": 1.0}]
    run = Run(out, {part.name: module})
    try:
        with _dropout(module, 0.0 if part.learns is not None else config.dropout):
            _loop(run, part, groups, config, say)
        state = torch.load(out / "best.pt", map_location="cpu", weights_only=True)
        module.load_state_dict(state["weights"])
    finally:
        merge(module).eval()
    return state["row"]


def _loop(run: Run, part: Part, groups: list[dict[str, Any]], config: Tuning, say: Say) -> None:
    optimizer = torch.optim.AdamW(groups, lr=part.rate, betas=(0.9, 0.98), weight_decay=0.01)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not run.resume(optimizer):
        _judge(run, part, config, say)
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
            _judge(run, part, config, say)
        if run.step % config.save_every == 0:
            _save(run, optimizer)
    _save(run, optimizer)


def _judge(run: Run, part: Part, config: Tuning, say: Say) -> None:
    """Judge the averaged weights and keep them if they are the best so far."""
    module = part.module
    with run.averaged(), torch.no_grad():
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
    check: Check | None = None,
    say: Say = silent,
) -> dict[str, dict[str, float]]:
    """Tune the bundle in place, generator first; returns each part's best row. Resumes from `out`."""
    check_front_end(f"the weights of {bundle.name}", bundle.fingerprint, bundle.text_pipeline())
    can_be_tuned(bundle, only, posterior)
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text(config.model_dump_json(indent=1), encoding="utf-8")
    rows: dict[str, dict[str, float]] = {}
    builders = {"generator": generator_part, "gpt": gpt_part}
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
