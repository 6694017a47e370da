"""The one safe door for foreign checkpoints: a file in, its tensors and settings out.

`read(path)` opens the files of the GPT-SoVITS family (torch zip, also with a version tag in place
of its first two bytes) and `.safetensors`. Nothing in the file is run, and nothing is allocated
before the file's own size has been seen to hold it; see `archive` and `opcodes`. Refused, each in
one line that says what to do: pickles without a zip, damage of any kind, unknown tags, NaN and
infinite weights. What model it is, `detect.identify` says.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from .archive import Archive
from .errors import AGAIN, UNTRUSTED, ForeignFileError, shown
from .opcodes import STORAGES, Attributes, OrderedMapping, Storage, TensorPlan, unpickle

__all__ = ["TAGS", "ForeignFile", "ForeignFileError", "read"]

PLAIN_TAG = "PK"
TAGS = (PLAIN_TAG, "00", "01", "02", "03", "04", "05", "06")
HEAD_BYTES = 8192  # the family knows its pretrained files by the MD5 of so many bytes
FILE_LIMIT = 16 << 30  # bytes; the largest training state has about 5 GB
SHARING_LIMIT = 4  # tensors over one storage may together have so many times its elements
DEPTH_LIMIT, VALUE_LIMIT = 32, 20_000  # of the settings
WEIGHT_KEYS = ("weight", "model", "generator")  # saved models, training states, BigVGAN
KNOWN_KEYS = {"config", "info", "lora_rank", "iteration", "optimizer", "learning_rate"}
NAMED = 10  # so many wrong tensors are named


@dataclass(frozen=True)
class ForeignFile:
    """What a foreign file holds; tensors may share memory, as they do in the file."""

    path: Path
    tag: str  # the first two characters: `PK` or a version tag; empty for safetensors
    tensors: dict[str, Tensor]  # the weights alone, without an optimiser's state
    top_level: tuple[str, ...]  # keys around the weights; empty for a bare state dict
    config: dict[str, Any] | None  # the settings as JSON would hold them
    info: str  # what the trainer wrote, such as `8epoch_104iteration`
    lora_rank: int | None  # as the file states it
    notes: tuple[str, ...]  # what a user should know
    head_md5: str  # MD5 of the first 8192 bytes


def read(path: str | Path) -> ForeignFile:
    """Open a foreign checkpoint; ForeignFileError says what is wrong with it, OSError that it
    cannot be read at all.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the checkpoint file in it")
    if not path.is_file():
        raise OSError(f"{path} is not a plain file")
    try:
        with open(path, "rb") as stream:
            return _read(path, stream, path.stat().st_size)
    except ForeignFileError as error:
        raise ForeignFileError(f"{path}: {error}") from error


def _read(path: Path, stream: IO[bytes], size: int) -> ForeignFile:
    head = stream.read(HEAD_BYTES)
    if not head:
        raise ForeignFileError(f"empty (0 bytes); {AGAIN}")
    if size > FILE_LIMIT:
        raise ForeignFileError("far larger than any model of the family; give another file")
    md5 = hashlib.md5(head, usedforsecurity=False).hexdigest()
    if path.suffix.lower() == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors(path, md5)
    tag = _tag(head)
    archive = Archive(stream, size)
    content = unpickle(archive.read("data.pkl"))
    plans, top_level = _weights(content)
    wrapper: Mapping[str, Any] = content if top_level else {}
    config, info = _config(wrapper), wrapper.get("info", "")
    lora_rank = wrapper.get("lora_rank")
    if type(info) is not str or type(lora_rank) not in (int, type(None)):
        raise ForeignFileError(f"its info or lora_rank is not of the usual type; {UNTRUSTED}")
    notes = _notes(archive, wrapper)
    tensors = _tensors(archive, plans)
    archive.check_rest()
    return ForeignFile(path, tag, tensors, top_level, config, info, lora_rank, notes, md5)


def _tag(head: bytes) -> str:
    """The version tag of a zip file; refuses what is no zip by what it seems to be."""
    if head[0] == 0x80:
        raise ForeignFileError(
            "a bare pickle or a checkpoint of torch before 1.6, which may run programs when "
            "opened; ask its maker to save it again with a newer torch"
        )
    if head[2:4] != b"\x03\x04":
        raise ForeignFileError(
            "no checkpoint: it begins neither like a torch file nor like safetensors; give a "
            ".pth, .ckpt or .safetensors file"
        )
    tag = head[:2].decode("latin-1")
    if tag not in TAGS:
        raise ForeignFileError(
            f"unknown version tag {shown(tag)!r} (known: {', '.join(TAGS)}); it is damaged or "
            "newer than this voxray"
        )
    return tag


def _weights(content: Any) -> tuple[dict[str, TensorPlan], tuple[str, ...]]:
    """The planned weights, and the keys around them."""
    if not isinstance(content, dict) or not all(type(key) is str for key in content):
        raise ForeignFileError("no checkpoint: it holds no dict of named things")
    if content and all(type(value) is TensorPlan for value in content.values()):
        return dict(content), ()
    key = next((key for key in WEIGHT_KEYS if key in content), None)
    keys = shown(", ".join(content)) or "none"
    if key is None:
        raise ForeignFileError(
            f"it has no weights (no key {' or '.join(WEIGHT_KEYS)}; its keys: {keys}); {AGAIN}"
        )
    weights = content[key]
    if not isinstance(weights, dict) or not weights:
        raise ForeignFileError(f"its {key} holds no tensors; {AGAIN}")
    for name, plan in weights.items():
        if type(name) is not str or type(plan) is not TensorPlan:
            raise ForeignFileError(f"its {key} holds {shown(str(name))!r}, which is no tensor")
    return dict(weights), tuple(content)


def _config(wrapper: Mapping[str, Any]) -> dict[str, Any] | None:
    config = wrapper.get("config")
    if config is None:
        return None
    if not isinstance(config, (dict, Attributes)):
        raise ForeignFileError(f"its config is no collection of settings; {AGAIN}")
    return _Settings().plain(config)


class _Settings:
    """Settings objects to what JSON can hold; each value counts, also a shared one."""

    def __init__(self) -> None:
        self.left = VALUE_LIMIT

    def plain(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if depth > DEPTH_LIMIT or self.left < 0:
            raise ForeignFileError(f"its config is absurdly deep or large; {UNTRUSTED}")
        if isinstance(value, Attributes):
            value = value.values
        if isinstance(value, (dict, OrderedMapping)):
            return {str(key): self.plain(item, depth + 1) for key, item in value.items()}
        if type(value) in (list, tuple):
            return [self.plain(item, depth + 1) for item in value]
        finite = type(value) is float and math.isfinite(value)
        if not finite and type(value) not in (str, int, bool, type(None)):
            raise ForeignFileError(f"its config holds a value that is no setting; {UNTRUSTED}")
        return value


def _notes(archive: Archive, wrapper: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if "weight" in wrapper and wrapper.get("config") is None:
        notes.append("it has no config: the settings of the detected version hold")
    for key in ("iteration", "learning_rate"):
        if type(wrapper.get(key)) in (int, float):
            notes.append(f"{key.replace('_', ' ')} {wrapper[key]}")
    if odd := archive.odd_names():
        notes.append(f"ignored records: {shown(', '.join(odd))}")
    if odd := [key for key in wrapper if key not in KNOWN_KEYS.union(WEIGHT_KEYS)]:
        notes.append(f"ignored keys: {shown(', '.join(odd))}")
    return tuple(notes)


def _tensors(archive: Archive, plans: Mapping[str, TensorPlan]) -> dict[str, Tensor]:
    """The planned tensors, read; every size is checked before the first allocation."""
    storages = _checked_storages(archive, plans.values())
    flat = {storage: _numbers(archive, storage) for storage in storages}
    tensors = {name: _view(flat[plan.storage], plan) for name, plan in plans.items()}
    spoiled = {storage for storage, numbers in flat.items() if not _finite(numbers)}
    _refuse_spoiled({n: t for n, t in tensors.items() if plans[n].storage in spoiled})
    return tensors


def _checked_storages(archive: Archive, plans: Iterable[TensorPlan]) -> list[Storage]:
    """The distinct storages, each with a record of exactly the bytes that it should have."""
    storages: dict[str, Storage] = {}
    used: dict[str, int] = {}
    for plan in plans:
        storage, key = plan.storage, plan.storage.key
        used[key] = used.get(key, 0) + plan.count
        if storages.setdefault(key, storage) != storage:
            raise ForeignFileError(f"its record data/{key} is described in two ways; {AGAIN}")
        if used[key] > SHARING_LIMIT * storage.count:
            raise ForeignFileError(f"too many tensors share the record data/{key}; {UNTRUSTED}")
        size = archive.size(f"data/{key}")
        if size is None:
            raise ForeignFileError(f"damaged: its record data/{key} is missing; {AGAIN}")
        if size != storage.count * storage.dtype.itemsize:
            raise ForeignFileError(
                f"damaged: its record data/{key} has {size} bytes in place of "
                f"{storage.count * storage.dtype.itemsize}; {AGAIN}"
            )
    return list(storages.values())


def _numbers(archive: Archive, storage: Storage) -> Tensor:
    """A whole storage, [count]."""
    data = archive.read(f"data/{storage.key}")
    if not data:
        return torch.empty(0, dtype=storage.dtype)
    if storage.dtype == torch.bool:  # any byte may stand in the file, a bool knows two
        return torch.frombuffer(data, dtype=torch.uint8).ne(0)
    return torch.frombuffer(data, dtype=storage.dtype)


def _view(numbers: Tensor, plan: TensorPlan) -> Tensor:
    if plan.count == 0:
        return torch.empty(plan.shape, dtype=numbers.dtype)
    return numbers.as_strided(plan.shape, plan.strides, plan.offset).contiguous()


def _finite(tensor: Tensor) -> bool:
    """Extremes carry any NaN or infinity; one pass, 30 times faster than isfinite on fp16."""
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return True
    return all(math.isfinite(extreme.item()) for extreme in torch.aminmax(tensor))


def _refuse_spoiled(tensors: Mapping[str, Tensor]) -> None:
    wrong = [shown(name) for name, tensor in tensors.items() if not _finite(tensor)]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise ForeignFileError(
            f"NaN or infinite numbers in {', '.join(wrong[:NAMED])}{more}: the training had "
            "failed; take an earlier checkpoint"
        )


def _read_safetensors(path: Path, md5: str) -> ForeignFile:
    """A bare state dict; the library checks every size against the file's."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OverflowError) as error:
        reason = shown(str(error))
        raise ForeignFileError(f"damaged: no readable safetensors ({reason}); {AGAIN}") from error
    odd = [name for name, tensor in tensors.items() if tensor.dtype not in STORAGES.values()]
    if odd or not tensors:
        what = f"{shown(odd[0])} has an unusual number type" if odd else "it holds no tensors"
        raise ForeignFileError(f"{what}; save the model again as float16 or float32")
    _refuse_spoiled(tensors)
    info = str(metadata.get("info", ""))
    return ForeignFile(path, "", tensors, (), None, info, None, (), md5)
