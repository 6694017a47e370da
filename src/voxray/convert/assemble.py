"""Published files -> a voxray model folder: `voxray convert GPT.ckpt SOVITS.pth -o voice/`.

Every file is read by the restricted reader, told apart by its content, and must fit the others: one
GPT stage (s1) and one SoVITS stage (s2) of the same symbol table. The folder holds safetensors and a
config; fp16 weights stay fp16, so that nothing is lost. What speaking does not need (the posterior,
a LoRA's own tensors, parts that are computed here) is kept apart under `tuning.`, for training and export.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voxray import checkpoint
from voxray.config import BundleConfig
from voxray.models.generator import Generator
from voxray.models.generator_matching import MatchingGenerator

from . import names, presets
from .detect import Identity, identify
from .family import build_generator, build_gpt, build_matching, build_quantiser
from .lora import merge_lora
from .reader import ForeignFile, read

POSTERIOR = "posterior."
WHAT = {
    "s1": "a GPT file (.ckpt)",
    "s2": "a SoVITS file (.pth)",
    "s2-lora": "a LoRA file",
    "vocoder-v4": "the vocoder of v4 (vocoder.pth)",
    "bigvgan": "the vocoder of v3 (BigVGAN)",
}


@dataclass(frozen=True)
class Stage:
    """One file and what it was found to be."""

    file: ForeignFile
    identity: Identity

    @property
    def name(self) -> str:
        """For messages."""
        return self.file.path.name


def convert(paths: Sequence[Path], folder: Path, *, version: str | None = None) -> BundleConfig:
    """Join the files to a model in `folder`; ValueError says which file does not fit and why.

    v3 and v4 also want their vocoder, and a LoRA its base. `version` is needed where the content
    cannot tell (v3 or v4 without their tag).
    """
    stages = [_stage(path, version) for path in paths]
    speech, sound = _only(stages, "s1"), _only(stages, "s2")
    _must_match(speech, sound)
    name = sound.identity.version
    tuned = _only(stages, "s2-lora") if _has(stages, "s2-lora") else sound
    with _naming(speech):
        gpt = build_gpt(name, speech.file.tensors)
    with _naming(tuned):
        weights = sound.file.tensors if tuned is sound else _merged(sound, tuned)
        quantiser, generator = build_quantiser(weights), _generator(name, weights, stages)
    state, tuning = _split(generator.state_dict())
    tuning.update(_kept(name, sound, tuned))
    config = BundleConfig(
        name=tuned.file.path.stem,
        version=name,
        gpt=gpt.config,
        content=presets.QUANTISER,
        generator=generator.config,
        training=" + ".join(part for part in (speech.file.info, tuned.file.info) if part),
        origin={"s1": _origin(speech), "s2": _origin(tuned)},
    )
    parts = {"gpt": gpt.state_dict(), "generator": state, "quantiser": quantiser.state_dict()}
    if tuning:
        parts["tuning"] = tuning
    checkpoint.save(
        folder, config.model_dump(mode="json"), checkpoint.joined(**parts), half=_all_half(stages)
    )
    return config


def _generator(
    name: str, weights: Mapping[str, Tensor], stages: Sequence[Stage]
) -> Generator | MatchingGenerator:
    if name not in presets.MATCHING:
        return build_generator(name, weights)
    vocoder = _only(stages, presets.VOCODER_KINDS[name])
    return build_matching(name, weights, vocoder.file.tensors)


def _merged(sound: Stage, delta: Stage) -> dict[str, Tensor]:
    """The weights of a base with its LoRA in them."""
    if delta.identity.version != sound.identity.version:
        raise ValueError(
            f"it is a LoRA of {delta.identity.label}, {sound.name} is {sound.identity.label}: "
            "give the base that it was trained on"
        )
    return merge_lora(sound.file.tensors, delta.file.tensors)


@contextmanager
def _naming(stage: Stage) -> Iterator[None]:
    """Errors about weights say whose they are."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{stage.name}: {error}") from error


def _kept(name: str, sound: Stage, tuned: Stage) -> dict[str, Tensor]:
    """What an export of v3 and v4 needs besides the modules' tensors."""
    if name not in presets.MATCHING:
        return {}
    if tuned is not sound:  # the LoRA goes back as it came
        return {f"lora.{key}": tensor for key, tensor in tuned.file.tensors.items()}
    return {
        f"kept.{key}": tensor
        for key, tensor in sound.file.tensors.items()
        if key.startswith(names.KEPT)
    }


def _origin(stage: Stage) -> dict[str, Any]:
    """What an export needs to write the file again."""
    file = stage.file
    dtype = next(iter(file.tensors.values())).dtype
    kind = str(dtype).removeprefix("torch.")
    origin = {"config": file.config or {}, "info": file.info, "dtype": kind, "tag": file.tag}
    if stage.identity.lora_rank is not None:
        origin["lora_rank"] = stage.identity.lora_rank
    return origin


def _stage(path: Path, version: str | None) -> Stage:
    file = read(path)
    return Stage(file, identify(file, version=version))


def _has(stages: Sequence[Stage], kind: str) -> bool:
    return any(stage.identity.kind == kind for stage in stages)


def _only(stages: Sequence[Stage], kind: str) -> Stage:
    found = [stage for stage in stages if stage.identity.kind == kind]
    given = ", ".join(f"{stage.name} is {stage.identity.kind}" for stage in stages)
    if not found and kind == "s2" and _has(stages, "s2-lora"):
        raise ValueError(f"a LoRA is only a difference: give its base (.pth) as well ({given})")
    if not found:
        raise ValueError(f"{WHAT[kind]} is missing among the files ({given})")
    if len(found) > 1:
        raise ValueError(f"{found[0].name} and {found[1].name} are both {WHAT[kind]}: name one")
    return found[0]


def _must_match(speech: Stage, sound: Stage) -> None:
    version = sound.identity.version
    wanted = presets.gpt(version).text_symbols
    if speech.identity.symbols != wanted:
        raise ValueError(
            f"{speech.name} reads {speech.identity.symbols} symbols, but {sound.name} "
            f"({sound.identity.label}) goes with a GPT of {wanted}: take the other file of the pair"
        )


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What speaks, and what only training needs."""
    speaking = {name: t for name, t in state.items() if not name.startswith(POSTERIOR)}
    return speaking, {name: t for name, t in state.items() if name.startswith(POSTERIOR)}


def _all_half(stages: Sequence[Stage]) -> bool:
    dtypes = {t.dtype for stage in stages for t in stage.file.tensors.values()}
    return all(not dtype.is_floating_point or dtype == torch.float16 for dtype in dtypes)
