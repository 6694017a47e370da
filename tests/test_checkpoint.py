"""The one door for weights: what goes in comes out, and nothing damaged comes in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from voxray import checkpoint
from voxray.bundle import Bundle


def state() -> dict[str, torch.Tensor]:
    shared = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    return {
        "gpt.embed.weight": shared,
        "gpt.head.weight": shared,  # shared memory, as tied weights have
        "generator.steps": torch.tensor(7),
        "quantiser.codes": shared.t(),  # not contiguous
    }


def test_round_trip(tmp_path: Path) -> None:
    config = {"width": 320, "heads": [[2, 0]], "name": "小"}
    checkpoint.save(tmp_path / "m", config, state())
    back_config, back = checkpoint.load(tmp_path / "m")
    assert back_config == config
    assert back.keys() == state().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state().items())
    assert sorted(os.listdir(tmp_path / "m")) == ["config.json", "weights.safetensors"]


def test_half_is_half_the_size_and_loads_as_float32(tmp_path: Path) -> None:
    big = {"gpt.w": torch.randn(100, 100, generator=torch.Generator().manual_seed(0))}
    checkpoint.save(tmp_path / "a", {}, big)
    checkpoint.save(tmp_path / "b", {}, big, half=True)
    sizes = [(tmp_path / f / checkpoint.WEIGHTS_FILE).stat().st_size for f in "ab"]
    assert sizes[1] < 0.52 * sizes[0]
    loaded = checkpoint.load(tmp_path / "b")[1]["gpt.w"]
    assert loaded.dtype == torch.float32 and torch.allclose(loaded, big["gpt.w"], rtol=1e-3)


def test_saving_again_replaces_both_files(tmp_path: Path) -> None:
    for number in range(3):
        checkpoint.save(tmp_path, {"n": number}, {"gpt.w": torch.full((2,), float(number))})
        config, loaded = checkpoint.load(tmp_path)
        assert config == {"n": number} and loaded["gpt.w"].tolist() == [number, number]
        assert len(os.listdir(tmp_path)) == 2


def test_a_failed_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, {"n": 1}, state())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; free some space"):
        checkpoint.save(tmp_path, {"n": 2}, state())
    assert checkpoint.load(tmp_path)[0] == {"n": 1} and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "exchange"])
def test_damaged_weights_are_refused_by_name(damage: str, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {}, state())
    path = tmp_path / checkpoint.WEIGHTS_FILE
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes(
        {"cut": data[:-20], "flip": flipped, "empty": b"", "exchange": data + b" "}[damage]
    )
    with pytest.raises(
        ValueError, match=r"weights\.safetensors is damaged .*copy the folder again"
    ):
        checkpoint.load(tmp_path)


def test_missing_pieces(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no checkpoint"):
        checkpoint.load(tmp_path)
    checkpoint.save(tmp_path, {}, state())
    (tmp_path / checkpoint.WEIGHTS_FILE).unlink()
    with pytest.raises(OSError, match="is missing"):
        checkpoint.load(tmp_path)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / checkpoint.CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_header_is_strict(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {}, state())
    _edit(tmp_path, format_version=99)
    with pytest.raises(ValueError, match="format version 99"):
        checkpoint.load(tmp_path)
    _edit(tmp_path, format_version=checkpoint.FORMAT_VERSION, extra=1)
    with pytest.raises(ValueError, match="unknown entries"):
        checkpoint.load(tmp_path)
    (tmp_path / checkpoint.CONFIG_FILE).write_bytes(b"\xff{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        checkpoint.load(tmp_path)


def test_weights_stay_inside_the_folder(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {}, state())
    header = json.loads((tmp_path / checkpoint.CONFIG_FILE).read_text())
    _edit(tmp_path, weights=header["weights"] | {"file": "../other.safetensors"})
    with pytest.raises(ValueError, match="outside"):
        checkpoint.load(tmp_path)


def test_what_must_not_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="belongs to no part"):
        checkpoint.save(tmp_path / "m", {}, {"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="NaN"):
        checkpoint.save(tmp_path / "m", {}, {"gpt.w": torch.tensor([float("nan")])})
    with pytest.raises(ValueError, match="range of fp16"):
        checkpoint.save(tmp_path / "m", {}, {"gpt.w": torch.tensor([1e6])}, half=True)
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.save(tmp_path / "m", {"path": tmp_path}, {"gpt.w": torch.zeros(1)})
    assert not (tmp_path / "m").exists()


def test_parts_go_back_into_their_modules_strictly() -> None:
    source, target = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    whole = checkpoint.joined(gpt=source.state_dict(), content={"x": torch.zeros(1)})
    assert checkpoint.part(whole, "gpt").keys() == {"weight", "bias"}
    checkpoint.restore(target, whole, "gpt")
    assert torch.equal(source.weight, target.weight)
    with pytest.raises(ValueError, match="misshapen weight"):
        checkpoint.restore(torch.nn.Linear(4, 2), whole, "gpt")
    with pytest.raises(ValueError, match="unknown bias"):
        checkpoint.restore(torch.nn.Linear(3, 2, bias=False), whole, "gpt")
    with pytest.raises(ValueError, match="missing bias and 1 more"):
        checkpoint.restore(target, whole, "generator")


def test_weights_that_are_read_are_not_drawn_before(tiny: Bundle, tmp_path: Path) -> None:
    tiny.save(tmp_path / "m")
    before = torch.get_rng_state()
    with checkpoint.undrawn():
        torch.nn.Linear(300, 300), torch.nn.Embedding(30, 3), torch.nn.Conv1d(3, 3, 3)
    loaded = Bundle.load(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), before)  # the user's dice lie as they lay
    for part in loaded.parts:
        ours, theirs = getattr(loaded, part).state_dict(), getattr(tiny, part).state_dict()
        for name, tensor in theirs.items():
            rounded = tensor.half().float() if tensor.is_floating_point() else tensor
            assert torch.equal(ours[name], rounded), name
    torch.nn.Linear(3, 3)
    assert not torch.equal(torch.get_rng_state(), before)
