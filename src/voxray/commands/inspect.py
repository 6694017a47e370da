"""`voxray inspect`: what a foreign checkpoint is, and how one can tell."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..convert.reader import ForeignFile

WIDTH = 80
MAIN = (  # settings worth a look, dotted
    "model.version", "model.phoneme_vocab_size", "model.n_layer", "model.hidden_dim", "model.head",
    "model.hidden_channels", "model.gin_channels", "model.upsample_rates",
    "model.semantic_frame_rate", "data.sampling_rate", "data.hop_length", "data.max_sec",
    "train.epochs", "train.batch_size", "train.learning_rate",
)  # fmt: skip


def inspect(
    file: Annotated[Path, typer.Argument(help="A .pth, .ckpt or .safetensors file.")],
    version: Annotated[
        str | None, typer.Option(help="v3 or v4, where the file itself cannot tell.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what a GPT-SoVITS checkpoint holds, without running anything in it."""
    facts = _facts(file, version)
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
        return
    _print(facts)


def _facts(path: Path, version: str | None) -> dict[str, Any]:
    from ..convert.detect import identify
    from ..convert.reader import read

    file = read(path)
    identity = identify(file, version)
    return {
        "file": str(path),
        "kind": identity.kind,
        "version": identity.version,
        "label": identity.label,
        "tag": file.tag,
        "symbols": identity.symbols,
        "posterior": identity.posterior,
        "lora_rank": identity.lora_rank,
        **_counts(file),
        "info": file.info,
        "top_level": list(file.top_level),
        "config": file.config,
        "reasons": list(identity.reasons),
        "unknown": list(identity.unknown),
        "notes": list(file.notes),
    }


def _counts(file: ForeignFile) -> dict[str, Any]:
    types = Counter(str(t.dtype).removeprefix("torch.") for t in file.tensors.values())
    return {
        "tensors": len(file.tensors),
        "elements": sum(tensor.numel() for tensor in file.tensors.values()),
        "dtypes": dict(types.most_common()),
        "shapes": {name: list(tensor.shape) for name, tensor in file.tensors.items()},
    }


def _print(facts: dict[str, Any]) -> None:
    types = ", ".join(f"{count} {name}" for name, count in facts["dtypes"].items())
    posterior = "yes (training can go on from it)" if facts["posterior"] else "no"
    rows = {
        "file": Path(facts["file"]).name,
        "kind": facts["kind"],
        "version": facts["label"] or "-",
        "tag": facts["tag"] or "none (safetensors)",
        "text symbols": facts["symbols"],
        "posterior encoder": posterior if facts["kind"] in ("s2", "training-state") else None,
        "LoRA rank": facts["lora_rank"],
        "tensors": f"{facts['tensors']:,} with {facts['elements']:,} numbers ({types})",
        "training": facts["info"] or "-",
        "config": _main_settings(facts["config"]) or "-",
    }
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        if value is not None:
            _paragraph(f"{name:<{width}}", str(value))
    sys.stdout.write("\nWhy:\n")
    for sentence in facts["reasons"]:
        _paragraph("- ", sentence)
    for sentence in facts["notes"]:
        _paragraph("- ", f"{sentence[0].upper()}{sentence[1:]}.")
    sys.stdout.write("\nShapes (#: a number):\n")
    for pattern, shapes in _patterns(facts["shapes"]).items():
        few = ", ".join(f"{shape} ({count})" if count > 1 else shape for shape, count in shapes)
        _paragraph("- ", f"{pattern}: {few}")


def _patterns(shapes: dict[str, list[int]]) -> dict[str, list[tuple[str, int]]]:
    """Names that differ in their numbers together: the shapes that they have, and how often."""
    found: dict[str, Counter[str]] = {}
    for name, shape in shapes.items():
        pattern = re.sub(r"(?<![^.])\d+(?![^.])", "#", name)
        found.setdefault(pattern, Counter())["x".join(map(str, shape)) or "a number"] += 1
    return {pattern: list(counts.items()) for pattern, counts in found.items()}


def _main_settings(config: dict[str, Any] | None) -> str:
    found = []
    for name in MAIN:
        part, key = name.split(".")
        section = (config or {}).get(part)
        if isinstance(section, dict) and key in section:
            value = json.dumps(section[key], ensure_ascii=False)
            found.append(f"{key} {value[:40]}")
    return ", ".join(found)


def _paragraph(start: str, text: str) -> None:
    """Wrapped text behind a label; the file's own words are shown without control characters."""
    from ..convert.errors import shown

    for number, line in enumerate(textwrap.wrap(shown(text, 2000), WIDTH - len(start)) or [""]):
        sys.stdout.write(f"{start if not number else ' ' * len(start)}{line}\n")
