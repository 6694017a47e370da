"""Every version: published files -> folder -> published files -> the same folder, bit for bit.

Once on small files of our own making (v3, v4 and LoRAs: `test_matching_round_trip.py`), once (slow) on whole ones
with the recorded cases' random weights. What comes back is opened as the original does it: two bytes put right,
then torch.load.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from test_matching_round_trip import FILES, equal, saved
from test_round_trip import GPT, QUANTISER, V2, weights
from torch import Tensor

import recorded
from voxray import checkpoint
from voxray.bundle import Bundle
from voxray.convert import names, presets
from voxray.convert.assemble import convert
from voxray.convert.export import export

TAGS = {"v1": "PK", "v2": "PK", "v2pro": "05", "v2proplus": "06"}
HEADS = {"PK": "", "05": "v2Pro", "06": "v2ProPlus"}  # what the original makes of them
SPEECH_CONFIG = {"data": {"max_sec": 54, "sizes": [1, 2]}, "model": {"vocab_size": 1025}}
SMALL = {
    "v1": V2.model_copy(
        update={
            "speaker": V2.speaker.model_copy(update={"input_bins": 1025}),
            "prior": V2.prior.model_copy(update={"text_symbols": 322}),
        }
    ),
    "v2": V2,
    "v2pro": presets._widened(V2, 1024).model_copy(update={"verification_width": 16}),
    "v2proplus": presets._widened(V2, 1024, initial_channels=768).model_copy(
        update={"verification_width": 16}
    ),
}


def config_of(version: str) -> dict[str, Any]:
    """As a fine-tune's file holds it."""
    model = {"version": version, "upsample_rates": [10, 8, 2, 2, 2]}
    return {"data": {"sampling_rate": 32000, "filter_length": 2048}, "model": model}


def pair(
    folder: Path, version: str, speech: Mapping[str, Tensor], sound: Mapping[str, Tensor]
) -> tuple[Path, Path]:
    """The two files of a voice, as the original writes them."""
    half = [OrderedDict((name, t.half()) for name, t in each.items()) for each in (speech, sound)]
    half[1]["quantizer.vq.layers.0._codebook.inited"] = torch.ones(1).half()
    label = FILES[version].removeprefix("s2_")
    return (
        saved(
            folder / "speaker-e15.ckpt",
            {"weight": half[0], "config": SPEECH_CONFIG, "info": "GPT-e15"},
        ),
        saved(
            folder / "speaker.pth",
            {"weight": half[1], "config": config_of(label), "info": "8epoch_104iteration"},
            TAGS[version],
        ),
    )


def opened(path: Path) -> tuple[str, dict[str, Any]]:
    """The tag, and the content as the original's readers find it."""
    data = path.read_bytes()
    return data[:2].decode(), torch.load(io.BytesIO(b"PK" + data[2:]), weights_only=True)


def goes_round(folder: Path, version: str, files: tuple[Path, Path]) -> None:
    """All of it, in both directions."""
    config = convert(files, folder / "voice")
    assert config.version == version
    back = export(folder / "voice", folder / "back")
    for before, after in zip(files, back, strict=True):
        equal(before, after)
    (speech_tag, speech), (tag, sound) = map(opened, back)
    assert speech_tag == "PK" and speech["config"] == SPEECH_CONFIG and speech["info"] == "GPT-e15"
    label = FILES[version].removeprefix("s2_")
    assert tag == TAGS[version] and HEADS[tag] in ("", label)
    assert sound["config"] == config_of(label)
    assert len(sound["weight"]["enc_p.text_embedding.weight"]) == presets.SYMBOLS[version]
    assert convert(back, folder / "again") == config
    first, second = (checkpoint.weights_hash(folder / name) for name in ("voice", "again"))
    assert first == second


@pytest.mark.parametrize("version", TAGS)
def test_small_files_go_round(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "GPT", GPT)
    monkeypatch.setattr(presets, "QUANTISER", QUANTISER)
    monkeypatch.setitem(presets.GENERATORS, version, SMALL[version])
    speech = weights(dict(names.gpt(presets.gpt(version))))
    sound = weights(dict(names.generator(SMALL[version], posterior=True)))
    goes_round(tmp_path, version, pair(tmp_path, version, speech, sound))
    assert Bundle.load(tmp_path / "again").config.version == version


@lru_cache(maxsize=1)
def drawn(table: str) -> dict[str, Tensor]:
    """One table's weights; three versions share a GPT."""
    return recorded.weights(table)


@pytest.mark.slow
@recorded.needed
@pytest.mark.parametrize("version", TAGS)
def test_whole_files_go_round(version: str, tmp_path: Path) -> None:
    speech = drawn("s1_v1" if version == "v1" else "s1_v2")
    sound = recorded.weights(FILES[version])
    goes_round(tmp_path, version, pair(tmp_path, version, speech, sound))


VOCODERS = {"v3": "bigvgan_24k", "v4": "vocoder_v4"}
BASE_TAGS = {"v3": "02", "v4": "PK"}
LORA_CONFIG = {"model": {"version": "v4"}}


def halved(table: str) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, t.half()) for name, t in recorded.weights(table).items())


def speech_file(folder: Path) -> Path:
    content = {"weight": halved("s1_v2"), "config": SPEECH_CONFIG, "info": "GPT-e15"}
    return saved(folder / "speaker-e15.ckpt", content)


def matching_file(folder: Path, version: str) -> Path:
    content = {"weight": halved(f"s2_{version}"), "config": config_of(version), "info": "base"}
    content["weight"]["quantizer.vq.layers.0._codebook.inited"] = torch.ones(1).half()
    constant = 1e4 ** -(torch.arange(0, 64, 2) / 64)  # which is not among what was drawn
    content["weight"][names.ANGLES] = constant.half()
    return saved(folder / f"base-{version}.pth", content, BASE_TAGS[version])


def vocoder_file(folder: Path, version: str) -> Path:
    return saved(folder / "vocoder.pth", halved(VOCODERS[version]))


@pytest.mark.slow
@recorded.needed
@pytest.mark.parametrize("version", VOCODERS)
def test_whole_matching_files_go_round(version: str, tmp_path: Path) -> None:
    files = (speech_file(tmp_path), matching_file(tmp_path, version))
    vocoder = vocoder_file(tmp_path, version)
    config = convert([*files, vocoder], tmp_path / "voice", version=version)
    assert config.version == version
    back = export(tmp_path / "voice", tmp_path / "back")
    for before, after in zip(files, back, strict=True):
        equal(before, after)
    tag, sound = opened(back[1])
    assert tag == BASE_TAGS[version] and sound["config"] == config_of(version)
    same_again(tmp_path, config, [*back, vocoder], version)


@pytest.mark.slow
@recorded.needed
def test_a_whole_lora_goes_round(tmp_path: Path) -> None:
    content = {"weight": halved("s2_v4_lora_r32"), "config": LORA_CONFIG, "info": "2epoch"}
    lora = saved(tmp_path / "speaker.pth", content | {"lora_rank": 32}, "04")
    files = (speech_file(tmp_path), lora)
    others = [matching_file(tmp_path, "v4"), vocoder_file(tmp_path, "v4")]
    config = convert([*files, *others], tmp_path / "voice", version="v4")
    back = export(tmp_path / "voice", tmp_path / "back")
    for before, after in zip(files, back, strict=True):
        equal(before, after)
    tag, sound = opened(back[1])
    assert tag == "04" and sound["config"] == LORA_CONFIG and sound["lora_rank"] == 32
    same_again(tmp_path, config, [*back, *others], "v4")


def same_again(folder: Path, config: object, files: list[Path], version: str) -> None:
    """What was exported makes the same model."""
    assert convert(files, folder / "again", version=version) == config
    first, second = (checkpoint.weights_hash(folder / name) for name in ("voice", "again"))
    assert first == second
