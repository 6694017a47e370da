"""Packed linear maps: the same function but for rounding, sites in their places, nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from voxray.config import GPTConfig
from voxray.models.gpt import GPT
from voxray.models.packed import PackedLinear, can_pack, is_packed, pack_linears
from voxray.sites import attach, record, sites

needed = pytest.mark.skipif(not can_pack(), reason="this processor has no packed kernels")
CONFIG = GPTConfig(width=128, n_layer=2, n_head=2, guided_heads=(), bos=False, pre_norm=False)
TEXT = torch.tensor([[3, 5, 7, 9]])


def model() -> GPT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT(CONFIG).eval()


def spoken(gpt: GPT) -> torch.Tensor:
    with torch.inference_mode():
        logits, cache = gpt.prefill(TEXT, torch.tensor([4]), torch.arange(6)[None])
        return torch.stack([logits, *(gpt.step(torch.tensor([t]), cache) for t in (1, 2, 3))])


@needed
@pytest.mark.parametrize(("kind", "allowed"), [("half", 1e-3), ("int8", 5e-2)])
def test_only_rounding_differs(kind: str, allowed: float) -> None:
    plain = spoken(model())
    packed = model()
    assert pack_linears(packed, kind) == 9  # type: ignore[arg-type]
    error = (spoken(packed) - plain).norm() / plain.norm()
    assert 0 < error < allowed


@needed
def test_fp16_weights_lose_nothing_to_fp16() -> None:
    gpt = model()
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.copy_(weight.half())
    plain = spoken(gpt)
    pack_linears(gpt, "half")
    assert (spoken(gpt) - plain).norm() / plain.norm() < 2e-6


@needed
def test_every_site_stays_and_can_be_edited() -> None:
    gpt = model()
    names = sites(gpt).keys()
    pack_linears(gpt, "int8")
    assert sites(gpt).keys() == names
    with record(gpt, "*") as seen:
        plain = spoken(gpt)
    assert seen.keys() == names
    with attach(gpt, {"blocks.0.attn.z": torch.zeros_like}):
        assert not torch.equal(spoken(gpt), plain)
    assert torch.equal(spoken(gpt), plain)


@needed
def test_the_global_switch_is_put_back() -> None:
    before = torch.backends.quantized.engine
    pack_linears(model(), "int8")
    assert torch.backends.quantized.engine == before


@needed
def test_gradients_are_refused_with_what_to_do() -> None:
    packed = PackedLinear(nn.Linear(128, 128), "half")
    with pytest.raises(ValueError, match="float32"):
        packed(torch.ones(1, 128, requires_grad=True))


def test_small_maps_and_other_processors_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    small = nn.Sequential(nn.Linear(8, 8))
    assert pack_linears(small, "half") == 0 and not is_packed(small)
    monkeypatch.setattr("voxray.models.packed.can_pack", lambda: False)
    gpt = model()
    assert pack_linears(gpt, "half") == 0 and not is_packed(gpt)
