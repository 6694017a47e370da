"""Matrices in 8 bits: what is lost, what never is, and what the door for weights says about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from voxray import checkpoint
from voxray.rounding import from_8_bits, to_8_bits

SIZES = [(512, 300), (64, 8, 5), (300, 1152), (2, 3), (1, 1)]
NAME = "content.block.weight"


def matrix(*shape: int, seed: int = 0, scale: float = 0.05) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SIZES)
def test_a_value_moves_by_half_a_step_of_its_row_at_most(shape: tuple[int, ...]) -> None:
    weights = matrix(*shape)
    codes, scale = to_8_bits(weights)
    assert codes.shape == weights.shape and codes.dtype == torch.int8
    assert scale.shape == (shape[0], 1) and scale.dtype == torch.float32
    moved = (from_8_bits(codes, scale) - weights).abs().flatten(1)
    assert bool((moved <= 0.5 * scale + 2**-11 * weights.abs().flatten(1) + 1e-7).all())
    assert torch.equal(scale, weights.abs().flatten(1).amax(1, keepdim=True) / 127)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [3e-7, 2e-4, 0.05, 40.0])
def test_what_was_rounded_once_stays_bit_for_bit(seed: int, scale: float) -> None:
    once = from_8_bits(*to_8_bits(matrix(200, 900, seed=seed, scale=scale)))
    assert torch.equal(from_8_bits(*to_8_bits(once)), once)
    assert torch.equal(once.half().float(), once)


def test_rows_of_nothing_and_of_too_much() -> None:
    weights = torch.zeros(2, 3)
    weights[1, 2] = -1.0
    codes, scale = to_8_bits(weights)
    assert scale[0] == 1.0 and torch.equal(from_8_bits(codes, scale), weights)
    with pytest.raises(ValueError, match="range of fp16"):
        to_8_bits(1e6 + torch.zeros(2, 2))


# --- in a checkpoint ------------------------------------------------------------------------------


def state() -> dict[str, torch.Tensor]:
    return {
        NAME: matrix(256, 32, 8),
        "content.bias": matrix(70_000, seed=1),  # one dimension
        "content.small": matrix(10, 10, seed=2),
        "content.norm.scale": matrix(
            512, 512, seed=3
        ),  # a tensor of that name, no scale of another
        "gpt.w": matrix(256, 256, seed=4),
    }


def test_only_large_matrices_under_the_prefix_are_rounded(tmp_path: Path) -> None:
    for folder, rounded in (("a", ()), ("b", ("content.",))):
        checkpoint.save(tmp_path / folder, {"n": 1}, state(), half=True, rounded=rounded)
    stored = load_file(tmp_path / "b" / checkpoint.WEIGHTS_FILE)
    in_8_bits = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    assert in_8_bits == {NAME, "content.norm.scale"}
    header = json.loads((tmp_path / "b" / checkpoint.CONFIG_FILE).read_text())["weights"]
    assert header["rounded"] == ["content."] and header["tensors"] == len(stored) == 7
    assert "rounded" not in (tmp_path / "a" / checkpoint.CONFIG_FILE).read_text()
    assert checkpoint.rounded_parts(tmp_path / "a") == ()
    assert checkpoint.rounded_parts(tmp_path / "b") == ("content.",)
    (config, plain), (_, loaded) = (checkpoint.load(tmp_path / f) for f in "ab")
    assert config == {"n": 1} and loaded.keys() == plain.keys() == state().keys()
    for name, tensor in plain.items():
        assert loaded[name].dtype == torch.float32 and loaded[name].shape == tensor.shape
        assert torch.equal(loaded[name], tensor) is (name not in in_8_bits)
        assert torch.allclose(loaded[name], tensor, atol=2e-3)


@pytest.mark.parametrize("half", [True, False])
def test_loading_and_saving_again_changes_nothing(tmp_path: Path, half: bool) -> None:
    checkpoint.save(tmp_path / "a", {}, state(), half=half, rounded=("content.", "gpt."))
    first = checkpoint.load(tmp_path / "a")[1]
    kept = checkpoint.rounded_parts(tmp_path / "a")
    checkpoint.save(tmp_path / "b", {}, first, half=half, rounded=kept)
    again = checkpoint.load(tmp_path / "b")[1]
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def rewrite(folder: Path, stored: dict[str, torch.Tensor], **weights: object) -> None:
    """Other tensors in a folder, with the right hash and number."""
    path = folder / checkpoint.CONFIG_FILE
    save_file(stored, folder / checkpoint.WEIGHTS_FILE)
    header = json.loads(path.read_text())
    header["weights"] |= {
        "sha256": checkpoint._sha256(folder / checkpoint.WEIGHTS_FILE),
        "tensors": len(stored),
        **weights,
    }
    path.write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({NAME + ".scale": None}, "is stored in 8 bits without its scale"),
        ({NAME + ".scale": torch.ones(256)}, r"must be float32 \[256, 1\]"),
        ({NAME + ".scale": torch.ones(256, 1).half()}, r"must be float32 \[256, 1\]"),
        ({NAME + ".scale": torch.full((256, 1), torch.inf)}, "finite"),
        ({NAME: matrix(256, 32, 8), NAME + ".scale": None}, "is torch.float32, not int8"),
        ({"content.small.scale": torch.ones(10, 1)}, "small.scale is the scale of a tensor"),
        ({"gpt.w": torch.ones(256, 256).to(torch.int8)}, "which the config does not say"),
    ],
)
def test_halves_that_do_not_fit_are_named(
    tmp_path: Path, damage: dict[str, torch.Tensor | None], said: str
) -> None:
    checkpoint.save(tmp_path, {}, state(), rounded=("content.",))
    stored = load_file(tmp_path / checkpoint.WEIGHTS_FILE) | damage
    rewrite(tmp_path, {name: tensor for name, tensor in stored.items() if tensor is not None})
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*{said}.*again"):
        checkpoint.load(tmp_path)


def test_the_header_names_prefixes_and_nothing_else(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {}, state(), rounded=("content.",))
    stored = load_file(tmp_path / checkpoint.WEIGHTS_FILE)
    for wrong in ("content.", [1], [""]):
        rewrite(tmp_path, stored, rounded=wrong)
        with pytest.raises(ValueError, match="must be a list of prefixes"):
            checkpoint.load(tmp_path)


def test_what_cannot_be_rounded(tmp_path: Path) -> None:
    both = {NAME: matrix(256, 256), NAME + ".scale": matrix(1)}
    with pytest.raises(ValueError, match="is a tensor, too"):
        checkpoint.save(tmp_path / "m", {}, both, rounded=("content.",))
    with pytest.raises(ValueError, match=r"weight exceeds the range .* 8 bits"):
        checkpoint.save(tmp_path / "m", {}, {NAME: 1e6 + both[NAME]}, rounded=("content.",))
    assert not (tmp_path / "m").exists()
