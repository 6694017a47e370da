"""The one door for weights: a folder with `weights.safetensors` and `config.json`.

`save(folder, config, state)` takes a plain dict of settings and a flat dict of tensors whose names
begin with the part they belong to (`gpt.`, `generator.`, `content.`, `quantiser.`). `load(folder)`
gives both back. The config carries a format version and the SHA-256 of the weights, so that a
damaged, truncated or exchanged file is found before a single number of it is used. Both files
appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
PARTS = ("gpt", "generator", "content", "quantiser", "tuning")  # tuning: what only training needs
HEADER = {"format_version", "weights", "config"}
WEIGHTS_ENTRY = {"file", "sha256", "dtype", "tensors"}


def save(
    folder: str | Path, config: Mapping[str, Any], state: Mapping[str, Tensor], half: bool = False
) -> None:
    """Writes a checkpoint; `half` stores float32 tensors as fp16 (half the size, loaded as float32
    again).

    The weights go first under a name of their own and the config, which names their hash, last: an
    interrupted save leaves the previous checkpoint readable.
    """
    folder = Path(folder)
    _check_names(state)
    tensors = {name: _stored(name, tensor, half) for name, tensor in state.items()}
    data = to_bytes(tensors)
    header = {
        "format_version": FORMAT_VERSION,
        "weights": {
            "file": _weights_name(folder, data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "dtype": "float16" if half else "float32",
            "tensors": len(tensors),
        },
        "config": dict(config),
    }
    try:
        text = json.dumps(header, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the config cannot be stored as JSON: {error}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_atomically(folder / header["weights"]["file"], data)
        _write_atomically(folder / CONFIG_FILE, text.encode() + b"\n")
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot save the checkpoint {folder}: {reason}; "
            "free some space or choose another folder"
        ) from error
    _drop_others(folder, header["weights"]["file"])


def weights_hash(folder: str | Path) -> str:
    """SHA-256 of the weights, as the config names it; `load` refuses weights that differ."""
    return str(_read_header(Path(folder))["weights"]["sha256"])


def load(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors (floats as float32, on the CPU); ValueError names the file that is
    wrong.
    """
    folder = Path(folder)
    header = _read_header(folder)
    path = folder / header["weights"]["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; copy the whole folder or install again")
    if _sha256(path) != header["weights"]["sha256"]:
        raise ValueError(
            f"{path} is damaged (its SHA-256 is not the one in {CONFIG_FILE}); {_AGAIN}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            state = {name: _widened(file.get_tensor(name)) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}); {_AGAIN}") from error
    if len(state) != header["weights"]["tensors"]:
        raise ValueError(
            f"{path} holds {len(state)} of {header['weights']['tensors']} tensors; {_AGAIN}"
        )
    _check_names(state)
    return header["config"], state


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one part, without its prefix: what the part's `load_state_dict` takes."""
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in state.items() if name.startswith(start)}


def joined(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `part`: `joined(gpt=gpt.state_dict(), generator=...)`."""
    return {
        f"{prefix}.{name}": tensor
        for prefix, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def restore(module: nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    """Loads one part into its module, strictly: ValueError says which tensors are missing, unknown
    or misshapen.
    """
    given, wanted = part(state, prefix), module.state_dict()
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    misshapen = [
        name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape
    ]
    problems = [
        f"{kind} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for kind, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("misshapen", sorted(misshapen)),
        )
        if names
    ]
    if problems:
        raise ValueError(f"the weights of `{prefix}` do not fit its config: {'; '.join(problems)}")
    module.load_state_dict(given)


_AGAIN = "download or copy the folder again"


def _check_names(state: Mapping[str, Tensor]) -> None:
    wrong = [
        name for name in state if name.partition(".")[0] not in PARTS or not name.partition(".")[2]
    ]
    if wrong:
        raise ValueError(
            f"tensor {wrong[0]!r} belongs to no part; names begin with one of {', '.join(PARTS)}"
        )


def _stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} holds NaN or infinite numbers; it is not saved")
        tensor = tensor.to(torch.float16 if half else torch.float32)
        if half and not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} exceeds the range of fp16 (65504); save without half")
    return tensor.contiguous().clone()  # a clone: safetensors refuses tensors that share memory


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no {CONFIG_FILE}")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also what is not UTF-8
        raise ValueError(f"{path} is damaged ({error}); {_AGAIN}") from error
    version = header.get("format_version") if isinstance(header, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version!r}, this voxray reads {FORMAT_VERSION}; "
            "install the version of voxray that wrote it, or take a newer model"
        )
    weights = header.get("weights")
    if set(header) != HEADER or not isinstance(weights, dict) or set(weights) != WEIGHTS_ENTRY:
        raise ValueError(f"{path} has missing or unknown entries; {_AGAIN}")
    if Path(weights["file"]).name != weights["file"]:
        raise ValueError(f"{path} names weights outside its own folder ({weights['file']})")
    if not isinstance(header["config"], dict):
        raise ValueError(f"{path}: `config` must be an object; {_AGAIN}")
    return header


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _weights_name(folder: Path, data: bytes) -> str:
    """`weights.safetensors`, or a second name while an older checkpoint under the first must stay
    readable.
    """
    current = folder / CONFIG_FILE
    if current.is_file() and f'"file": "{WEIGHTS_FILE}"' in current.read_text("utf-8", "replace"):
        return f"weights-{hashlib.sha256(data).hexdigest()[:8]}.safetensors"
    return WEIGHTS_FILE


def _drop_others(folder: Path, keep: str) -> None:
    for path in folder.glob("weights*.safetensors"):
        if path.name != keep:
            path.unlink(missing_ok=True)


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
