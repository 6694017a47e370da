"""v3 and v4, whole and as LoRA: published files -> folder -> published files; and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_round_trip import CONFIG, GPT, QUANTISER, weights

import recorded
from voxray import checkpoint
from voxray.bundle import Bundle
from voxray.config import BridgeConfig, DiTConfig, FlowMatchingConfig, HifiganConfig
from voxray.convert import names, presets
from voxray.convert.assemble import convert
from voxray.convert.export import export
from voxray.convert.reader import read

V4 = presets.V4.model_copy(
    update={
        "prior": presets.PRIOR.model_copy(
            update={
                "input_channels": 24, "hidden": 16, "filter": 16, "content_layers": 1,
                "text_layers": 1, "joint_layers": 1, "latent_channels": 8,
            }
        ),
        "speaker": presets.SPEAKER.model_copy(update={"hidden": 16}),
        "bridge": BridgeConfig(input_channels=16, width=16, layers=1, speaker_width=512),
        "matching": FlowMatchingConfig(
            transformer=DiTConfig(
                n_mels=10, condition_width=16, width=32, n_layer=2, n_head=2, rotary_width=16,
                condition_layers=1, position_groups=4, time_width=16,
            ),
        ),
        "vocoder": HifiganConfig(
            input_channels=10, initial_channels=16, rates=(4, 2), kernels=(8, 4), speaker_width=0,
            final_bias=True, rate=800,
        ),
    }
)  # fmt: skip
real_gpt, real_generators = presets.GPT, dict(presets.GENERATORS)  # before `_small` shrinks them
ATTENTION = "cfm.base_model.model.estimator.transformer_blocks.{}.attn.{}.lora_{}.default.weight"


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "GPT", GPT)
        patch.setattr(presets, "QUANTISER", QUANTISER)
        for version in ("v3", "v4"):
            patch.setitem(presets.MATCHING, version, V4)
        patch.setitem(presets.VOCODER_KINDS, "v3", "vocoder-v4")
        yield


def saved(path: Path, content: object, tag: str = "PK") -> Path:
    torch.save(content, path)
    with path.open("r+b") as file:
        file.write(tag.encode())
    return path


def base(folder: Path, tag: str = "02") -> Path:
    tensors = weights(dict(names.matching(V4)))
    tensors["quantizer.vq.layers.0._codebook.inited"] = torch.ones(1).half()
    content = {"weight": tensors, "config": CONFIG | {"model": {}}, "info": "base"}
    return saved(folder / f"base{tag}.pth", content, tag)


def speech(folder: Path) -> Path:
    content = {"weight": weights(dict(names.gpt(GPT))), "config": CONFIG, "info": "GPT-e15"}
    return saved(folder / "speaker.ckpt", content)


def vocoder(folder: Path) -> Path:
    return saved(folder / "vocoder.pth", weights(dict(names._hifigan("", V4.vocoder))))


def lora(folder: Path, tag: str = "04", rank: int = 4) -> Path:
    table: dict[str, tuple[int, ...]] = {}
    for block in range(2):
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            table[ATTENTION.format(block, part, "A")] = (rank, 32)
            table[ATTENTION.format(block, part, "B")] = (32, rank)
    whole = dict(names.matching(V4))
    beside = ("ref_enc.", "quantizer.", "bridge.", "wns1.", "linear_mel.")
    table |= {name: shape for name, shape in whole.items() if name.startswith(beside)}
    tensors = weights(table)
    tensors["quantizer.vq.layers.0._codebook.inited"] = torch.ones(1).half()
    content = {"weight": tensors, "config": {"model": {}}, "info": "2epoch", "lora_rank": rank}
    return saved(folder / f"lora{tag}.pth", content, tag)


def equal(before: Path, after: Path) -> None:
    old, new = read(before), read(after)
    assert old.tag == new.tag and old.info == new.info and old.config == new.config
    assert old.lora_rank == new.lora_rank and old.tensors.keys() == new.tensors.keys()
    for name, tensor in old.tensors.items():
        assert tensor.dtype == new.tensors[name].dtype, name
        assert torch.equal(tensor, new.tensors[name]), name


@pytest.mark.parametrize(("tag", "version"), [("02", "v3"), ("PK", "v4")])
def test_a_whole_model_there_and_back(tmp_path: Path, tag: str, version: str) -> None:
    pair = (speech(tmp_path), base(tmp_path, tag))
    asked = version if tag == "PK" else None
    config = convert([*pair, vocoder(tmp_path)], tmp_path / "voice", version=asked)
    assert config.version == version
    for before, after in zip(pair, export(tmp_path / "voice", tmp_path / "back"), strict=True):
        equal(before, after)
    assert Bundle.load(tmp_path / "voice").config.version == version


def test_a_pruned_file_comes_back_whole(tmp_path: Path) -> None:
    pruned = base(tmp_path)
    found = read(pruned)
    tensors = dict(found.tensors)
    angles = tensors.pop(names.ANGLES)
    content = {"weight": tensors, "config": found.config, "info": found.info}
    saved(pruned, content, "02")
    convert([speech(tmp_path), pruned, vocoder(tmp_path)], tmp_path / "voice")
    _, sound = export(tmp_path / "voice", tmp_path / "back")
    written = read(sound).tensors[names.ANGLES]
    assert written.shape == angles.shape and written[0] == 1.0
    assert float(written[-1]) == pytest.approx(1e4 ** -(1 - 1 / len(written)), rel=1e-3)


def test_a_lora_there_and_back(tmp_path: Path) -> None:
    pair = (speech(tmp_path), lora(tmp_path))
    files = [*pair, base(tmp_path, "PK"), vocoder(tmp_path)]
    config = convert(files, tmp_path / "voice", version="v4")
    assert config.name == "lora04" and config.training == "GPT-e15 + 2epoch"
    back = export(tmp_path / "voice", tmp_path / "back")
    for before, after in zip(pair, back, strict=True):
        equal(before, after)
    assert convert([*back, *files[2:]], tmp_path / "again", version="v4") == config
    first, second = (checkpoint.weights_hash(tmp_path / name) for name in ("voice", "again"))
    assert first == second


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    gpt, voice = speech(tmp_path), vocoder(tmp_path)
    three, plain = base(tmp_path, "02"), base(tmp_path, "PK")
    four = lora(tmp_path, "04")
    wrong: list[tuple[list[Path], str | None, str]] = [
        ([gpt, four, voice], None, "a LoRA is only a difference: give its base"),
        ([gpt, three, voice], "v4", "v3"),  # a v3 file called v4
        ([gpt, four, three, voice], None, "it is a LoRA of v4, base02.pth is v3"),
        ([gpt, plain, voice], None, "v3"),  # nothing says which
        ([gpt, three], None, "vocoder"),
        ([gpt, lora(tmp_path, "03"), plain, voice], "v4", "v3"),  # a v3 LoRA called v4
    ]
    for files, version, said in wrong:
        with pytest.raises(ValueError, match=said):
            convert(files, tmp_path / "voice", version=version)
    assert not (tmp_path / "voice").exists()


FILES = {"v1": "s2_v1", "v2": "s2_v2", "v2pro": "s2_v2Pro", "v2proplus": "s2_v2ProPlus"}


@recorded.needed
@pytest.mark.parametrize("version", presets.SYMBOLS)
def test_the_names_are_those_of_the_published_files(version: str) -> None:
    if version in FILES:
        ours = names.generator(real_generators[version], posterior=True)
    else:
        ours = names.matching({"v3": presets.V3, "v4": presets.V4}[version])
    published = recorded.shapes(FILES.get(version, f"s2_{version}"))
    assert dict(ours) == {name: tuple(shape) for name, shape in published.items()}


@recorded.needed
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_names_of_the_gpt_are_those_of_the_published_files(version: str) -> None:
    config = real_gpt.model_copy(update={"text_symbols": {"v1": 512, "v2": 732}[version]})
    published = recorded.shapes(f"s1_{version}")
    assert dict(names.gpt(config)) == {name: tuple(shape) for name, shape in published.items()}
