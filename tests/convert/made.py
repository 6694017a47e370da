"""Small checkpoint files made on the spot, good and hostile, in the layout of the family's savers.

Shared by the tests beside it and by benchmarks/fuzz_reader.py.
"""

from __future__ import annotations

import io
import random
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PWNED = "VOXRAY_PWNED"  # the file that hostile checkpoints would create
PROGRAM = f"import os; open(os.environ[{PWNED!r}], 'w').close()"
TEXT, REFERENCE = "enc_p.text_embedding.weight", "ref_enc.spectral.0.fc.weight"


class HParams:
    """Stands in for the savers' settings class, which pickles as `utils.HParams`."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


HParams.__module__ = "utils"


class Evil:
    """Pickles as a call that creates the marker file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (PROGRAM,)


def numbers(*shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
    values = torch.arange(max(1, torch.Size(shape).numel())) % 7 / 8.0
    return values.reshape(shape).to(dtype)


def v2_weights(symbols: int = 732, bins: int = 704) -> dict[str, Tensor]:
    """The tensors that tell the versions apart, their other axes cut short."""
    return OrderedDict(
        {
            TEXT: numbers(symbols, 1),
            REFERENCE: numbers(1, bins),
            "ref_enc.fc.fc.weight": numbers(512, 1),
            "dec.conv_pre.weight": numbers(512, 1, 1),
            "flow.flows.0.pre.weight": numbers(2, 2, 1),
        }
    )


def v2_content() -> dict[str, Any]:
    model = HParams(version="v2", gin_channels=512, upsample_rates=[10, 8, 2, 2, 2])
    config = HParams(model=model, data=HParams(sampling_rate=32000), name="demo")
    return OrderedDict(weight=v2_weights(), config=config, info="8epoch_104iteration")


def s1_content(rows: int = 732) -> dict[str, Any]:
    weight = {
        "model.ar_text_embedding.word_embeddings.weight": numbers(rows, 1),
        "model.bert_proj.bias": numbers(4),
    }
    return {"weight": weight, "config": {"data": {"max_sec": 54}}, "info": "GPT-e15"}


def lora_content(rank: int = 4, stated: int | None = 4) -> dict[str, Any]:
    block = "cfm.base_model.model.estimator.transformer_blocks.0.attn.to_q"
    weight = {
        REFERENCE: numbers(1, 704),
        "ref_enc.fc.fc.weight": numbers(512, 1),
        f"{block}.lora_A.default.weight": numbers(rank, 8),
        f"{block}.lora_B.default.weight": numbers(8, rank),
    }
    content = {"weight": weight, "config": HParams(), "info": "x", "lora_rank": stated}
    return {key: value for key, value in content.items() if value is not None}


def matching_weights() -> dict[str, Tensor]:
    """A whole v3 or v4 model: nothing in it tells which."""
    return {
        TEXT: numbers(732, 1),
        REFERENCE: numbers(1, 704),
        "cfm.estimator.proj_out.bias": numbers(4),
    }


def saved(content: Any, tag: bytes = b"PK") -> bytes:
    """What torch.save writes, the first two bytes replaced by the tag."""
    module = types.ModuleType("utils")
    module.HParams = HParams  # type: ignore[attr-defined]
    before, sys.modules["utils"] = sys.modules.get("utils"), module
    buffer = io.BytesIO()
    try:
        torch.save(content, buffer)
    finally:
        sys.modules.pop("utils")
        if before is not None:
            sys.modules["utils"] = before
    return tag + buffer.getvalue()[2:]


def repacked(
    data: bytes,
    change: Callable[[dict[str, bytes]], None] = lambda _: None,
    compression: int = zipfile.ZIP_STORED,
    extra: tuple[tuple[str, bytes], ...] = (),
) -> bytes:
    """The same zip with changed records and right checksums; `extra` may repeat names."""
    with zipfile.ZipFile(io.BytesIO(b"PK" + data[2:])) as old:
        records = {name: old.read(name) for name in old.namelist()}
    change(records)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as new:
        warnings.simplefilter("ignore")  # two records of one name are meant
        for name, content in (*records.items(), *extra):
            new.writestr(zipfile.ZipInfo(name), content, compression)
    return data[:2] + buffer.getvalue()[2:]


def with_pickle(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The same zip with another data.pkl."""

    def apply(records: dict[str, bytes]) -> None:
        name = next(name for name in records if name.endswith("/data.pkl"))
        records[name] = change(records[name])

    return repacked(data, apply)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Bytes changed, cut, doubled or moved in one to eight places."""
    blob = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        if not blob:
            break
        place, length = dice.randrange(len(blob)), dice.choice((1, 1, 2, 4, 8, 64))
        kind = dice.randrange(6)
        if kind == 0:
            blob[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            blob[place] = dice.choice(b"\x00\xff\x7f\x80.(R\x81bcQ\x93]}tq")
        elif kind == 2:
            del blob[place : place + length]
        elif kind == 3:
            blob[place:place] = blob[place : place + length]
        elif kind == 4:
            blob[place : place + length] = dice.randbytes(length)
        else:
            del blob[place + dice.randrange(64) :]
    return bytes(blob)
