"""A voxray model folder -> the published files: `.ckpt` (GPT) and `.pth` (SoVITS), of every version.

The reverse of `assemble.convert`: names, shapes, number format, config and head bytes are those of
the files that the folder was made from. A voice from a LoRA goes back as its LoRA, without the base; the
vocoder of v3 and v4 is a file that stays as it was. Both files appear whole or not at all.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voxray import checkpoint
from voxray.config import BundleConfig, GPTConfig, MatchingGeneratorConfig

from . import names, rules_family, rules_matching
from .rename import Rule, rename

DTYPES = {str(t).removeprefix("torch."): t for t in (torch.float16, torch.bfloat16, torch.float32)}
TAGS = {"v2pro": b"05", "v2proplus": b"06"}
MATCHING = ("v3", "v4")
LENGTH, DIRECTION = ".parametrizations.weight.original0", ".parametrizations.weight.original1"
BOOK = "quantizer.vq.layers.0._codebook."
QUANTISER = {
    "ssl_proj.weight": "pair.weight",
    "ssl_proj.bias": "pair.bias",
    BOOK + "cluster_size": "usage",
    BOOK + "embed": "codebook",
    BOOK + "embed_avg": "total",
}


def export(folder: Path, target: Path) -> tuple[Path, Path]:
    """Write NAME.ckpt and NAME.pth into the folder `target`; returns both paths."""
    raw, state = checkpoint.load(folder)
    config = BundleConfig(**raw)
    if not config.version or not isinstance(config.gpt, GPTConfig):
        raise ValueError(f"{folder} is no published model: there is no file format to go back to")
    speech = _back(checkpoint.part(state, "gpt"), names.gpt(config.gpt), rules_family.GPT)
    sound = _sound(config, state)
    target.mkdir(parents=True, exist_ok=True)
    files = (target / f"{config.name}.ckpt", target / f"{config.name}.pth")
    tags = (b"PK", _tag(config))
    for path, kind, weights, tag in zip(files, ("s1", "s2"), (speech, sound), tags, strict=True):
        _write(path, weights, config.origin.get(kind, {}), tag)
    return files


def _tag(config: BundleConfig) -> bytes:
    """Of v3 and v4 that of the file it came from: the family has none for a whole v4."""
    given = str(config.origin.get("s2", {}).get("tag") or "PK")
    return TAGS.get(config.version, given.encode() if config.version in MATCHING else b"PK")


def _sound(config: BundleConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tuning = checkpoint.part(state, "tuning")
    if isinstance(config.generator, MatchingGeneratorConfig):
        return _matching(config.generator, state, tuning)
    ours = {**checkpoint.part(state, "generator"), **tuning}
    wanted = dict(names.generator(config.generator, posterior=bool(tuning)))  # type: ignore[arg-type]
    made = _quantiser(checkpoint.part(state, "quantiser"), wanted)
    rest = ((name, shape) for name, shape in wanted.items() if name not in made)
    made.update(_back(ours, rest, rules_family.GENERATOR))
    return {name: made[name] for name in wanted}


def _matching(
    config: MatchingGeneratorConfig, state: Mapping[str, Tensor], tuning: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    lora = checkpoint.part(tuning, "lora")
    if lora:
        return lora
    wanted = dict(names.matching(config))
    made = _quantiser(checkpoint.part(state, "quantiser"), wanted) | checkpoint.part(tuning, "kept")
    made.setdefault(names.ANGLES, _angles(*wanted[names.ANGLES]))  # pruned files leave it out
    rest = ((name, shape) for name, shape in wanted.items() if name not in made)
    made.update(_back(checkpoint.part(state, "generator"), rest, rules_matching.FLOW_MATCHING))
    return {name: made[name] for name in wanted}


def _angles(half: int) -> Tensor:
    """What a position is turned by, [half]: the constant of the family's rotary embedding."""
    return 10_000.0 ** -(torch.arange(half) / half)


def _quantiser(
    state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    made = {name: state[ours] for name, ours in QUANTISER.items()}
    out, inner, taps = wanted["ssl_proj.weight"]
    pairs = made["ssl_proj.weight"].unflatten(1, (taps, inner))  # [O, 2 C] -> [O, 2, C]
    made["ssl_proj.weight"] = pairs.transpose(1, 2).contiguous()
    made[BOOK + "inited"] = torch.ones(1)
    return made


def _back(
    state: Mapping[str, Tensor],
    wanted: Iterable[tuple[str, tuple[int, ...]]],
    rules: Sequence[Rule],
) -> dict[str, Tensor]:
    """Our tensors under the published names; ValueError if one is missing."""
    made: dict[str, Tensor] = {}
    for name, shape in wanted:
        ours = rename(name, rules)
        tensor = None if ours is None else state.get(ours)
        if tensor is None and ours is not None:
            tensor = _normed(state, ours)
        if tensor is None:
            raise ValueError(f"the model has no tensor for {name}")
        made[name] = tensor.reshape(shape)
    return made


def _normed(state: Mapping[str, Tensor], name: str) -> Tensor | None:
    """Half of a weight normalisation that was baked in (models saved after loading): lengths along the first axis, or the
    weight itself as the direction.
    """
    if not name.endswith((LENGTH, DIRECTION)):
        return None
    plain = state.get(name.removesuffix(LENGTH).removesuffix(DIRECTION) + ".weight")
    if plain is None or name.endswith(DIRECTION):
        return plain
    rest = tuple(range(1, plain.dim()))
    return torch.linalg.vector_norm(plain.float(), dim=rest, keepdim=True).to(plain.dtype)


def _write(
    path: Path, weights: Mapping[str, Tensor], origin: Mapping[str, Any], tag: bytes
) -> None:
    dtype = DTYPES[origin.get("dtype", "float16")]
    content = {
        "weight": OrderedDict((name, t.to(dtype).clone()) for name, t in weights.items()),
        "config": _plain(origin.get("config", {})),
        "info": origin.get("info", ""),
    }
    if "lora_rank" in origin:
        content["lora_rank"] = origin["lora_rank"]
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        torch.save(content, beside)
        with beside.open("r+b") as file:
            file.write(tag)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Tuples back to the lists that the published configs hold."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
