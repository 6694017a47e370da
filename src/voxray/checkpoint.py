"""The one door for weights: a folder with `weights.safetensors` and `config.json`.

`save(folder, config, state)` takes a plain dict of settings and a flat dict of tensors whose names
begin with the part they belong to (`gpt.`, `generator.`, `content.`, `quantiser.`). `load(folder)`
gives both back. The config carries a format version and the SHA-256 of the weights, so that a
damaged, truncated or exchanged file is found before a single number of it is used. Both files
appear whole or not at all.

Large matrices may be stored in 8 bits (`rounding.py` has the numbers): a tensor NAME whose name begins with
one of the prefixes in the header's `weights.rounded` and that has two dimensions and 65,536 values or more
lies in the file as `NAME`, int8 in its own shape, and `NAME.scale`, float32 [rows, 1]. Without that entry
everything is as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from voxray import rounding

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
PARTS = ("gpt", "generator", "content", "quantiser", "tuning")  # tuning: what only training needs
HEADER = {"format_version", "weights", "config"}
WEIGHTS_ENTRY = {"file", "sha256", "dtype", "tensors"}  # and perhaps `rounded`
SCALE = ".scale"  # of a matrix stored in 8 bits, behind its name
DRAWING = frozenset(
    {Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_}
    | {
        nn.init.kaiming_uniform_,
        nn.init.kaiming_normal_,
        nn.init.xavier_uniform_,
        nn.init.xavier_normal_,
    }
)
LEAST_ROUNDED = 65_536  # values: below that there is little to save


def save(
    folder: str | Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    half: bool = False,
    rounded: Sequence[str] = (),
) -> None:
    """Writes a checkpoint; `half` stores float32 tensors as fp16 (half the size, loaded as float32
    again), `rounded` the large matrices whose names begin with one of these prefixes in 8 bits.

    The weights go first under a name of their own and the config, which names their hash, last: an
    interrupted save leaves the previous checkpoint readable.
    """
    folder = Path(folder)
    _check_names(state)
    tensors = _all_stored(state, half, rounded)
    data = to_bytes(tensors)
    header = {
        "format_version": FORMAT_VERSION,
        "weights": {
            "file": _weights_name(folder, data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "dtype": "float16" if half else "float32",
            "tensors": len(tensors),
            **({"rounded": list(rounded)} if rounded else {}),
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


def rounded_parts(folder: str | Path) -> tuple[str, ...]:
    """The prefixes of the tensors that are stored in 8 bits: what `save` takes as `rounded`."""
    return tuple(_read_header(Path(folder))["weights"].get("rounded", ()))


def load(folder: str | Path, *, widened: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors (floats as float32, on the CPU); ValueError names the file that is
    wrong. `widened=False` leaves fp16 as it is stored, half as large: for `restore`.
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
            stored = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}); {_AGAIN}") from error
    if len(stored) != header["weights"]["tensors"]:
        raise ValueError(
            f"{path} holds {len(stored)} of {header['weights']['tensors']} tensors; {_AGAIN}"
        )
    try:
        state = _all_widened(stored, header["weights"].get("rounded", ()), widened)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {_AGAIN}") from error
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


class undrawn(TorchFunctionMode):  # noqa: N801  (a context: `with undrawn():`)
    """Modules built inside draw no initial weights: what stands in memory is there until `restore` fills all of it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # fmt: skip
        given = kwargs or {}
        if func in DRAWING:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


_AGAIN = "download or copy the folder again"


def _check_names(state: Mapping[str, Tensor]) -> None:
    wrong = [
        name for name in state if name.partition(".")[0] not in PARTS or not name.partition(".")[2]
    ]
    if wrong:
        raise ValueError(
            f"tensor {wrong[0]!r} belongs to no part; names begin with one of {', '.join(PARTS)}"
        )


def _in_8_bits(name: str, tensor: Tensor, rounded: Sequence[str]) -> bool:
    """Whether a tensor is one of those that are stored in 8 bits."""
    large = tensor.dim() >= 2 and tensor.numel() >= LEAST_ROUNDED
    return large and name.startswith(tuple(rounded))


def _all_stored(
    state: Mapping[str, Tensor], half: bool, rounded: Sequence[str]
) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in state.items():
        tensors[name] = _stored(name, tensor, half)
        if not tensor.is_floating_point() or not _in_8_bits(name, tensor, rounded):
            continue
        if name + SCALE in state:
            raise ValueError(f"{name} cannot be stored in 8 bits: {name + SCALE} is a tensor, too")
        try:
            tensors[name], tensors[name + SCALE] = rounding.to_8_bits(tensors[name])
        except ValueError as error:
            raise ValueError(f"tensor {name} {error}; it cannot be stored in 8 bits") from error
    return tensors


def _all_widened(
    stored: Mapping[str, Tensor], rounded: Sequence[str], widened: bool
) -> dict[str, Tensor]:
    """What was stored, floats as float32 if `widened`; ValueError where the two halves of a rounded matrix do not fit."""
    state = {}
    scales = {name + SCALE for name, tensor in stored.items() if tensor.dtype == torch.int8}
    for name, tensor in stored.items():
        if tensor.dtype == torch.int8:
            if not _in_8_bits(name, tensor, rounded):
                raise ValueError(f"{name} is stored in 8 bits, which the config does not say")
            state[name] = rounding.from_8_bits(tensor, _scale(name, tensor, stored))
        elif name not in scales and _looks_like_scale(name, stored, rounded):
            raise ValueError(f"{name} is the scale of a tensor that is not stored in 8 bits")
        elif tensor.is_floating_point() and _in_8_bits(name, tensor, rounded):
            raise ValueError(f"{name} is {tensor.dtype}, not int8 as the config says")
        elif name not in scales:
            state[name] = _widened(tensor) if widened else tensor
    return state


def _looks_like_scale(name: str, stored: Mapping[str, Tensor], rounded: Sequence[str]) -> bool:
    return (
        name.startswith(tuple(rounded)) and name.endswith(SCALE) and name[: -len(SCALE)] in stored
    )


def _scale(name: str, tensor: Tensor, stored: Mapping[str, Tensor]) -> Tensor:
    scale = stored.get(name + SCALE)
    if scale is None:
        raise ValueError(f"{name} is stored in 8 bits without its scale")
    rows = (tensor.shape[0], 1)
    if scale.dtype != torch.float32 or scale.shape != rows or not bool(scale.isfinite().all()):
        raise ValueError(f"{name + SCALE} must be float32 {list(rows)}, finite")
    return scale


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
    known = isinstance(weights, dict) and set(weights) - {"rounded"} == WEIGHTS_ENTRY
    if set(header) != HEADER or not isinstance(weights, dict) or not known:
        raise ValueError(f"{path} has missing or unknown entries; {_AGAIN}")
    if Path(weights["file"]).name != weights["file"]:
        raise ValueError(f"{path} names weights outside its own folder ({weights['file']})")
    rounded = weights.get("rounded", [])
    if not isinstance(rounded, list) or not all(isinstance(p, str) and p for p in rounded):
        raise ValueError(f"{path}: `rounded` must be a list of prefixes; {_AGAIN}")
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
