"""Packed linear maps: the same function but for rounding, sites in their places, nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from voxray import checkpoint
from voxray.bundle import Bundle, FamilyBundle
from voxray.config import GPTConfig
from voxray.models.gpt import GPT
from voxray.models.packed import (
    Kind,
    PackedLinear,
    QuickLinear,
    can_pack,
    is_packed,
    pack_linears,
    quicken,
)
from voxray.sites import attach, record, sites
from voxray.train.adapters import adapt, merge

needed = pytest.mark.skipif(not can_pack(), reason="this processor has no packed kernels")
CONFIG = GPTConfig(width=128, n_layer=2, n_head=2, guided_heads=(), bos=False, pre_norm=False)
TEXT = torch.tensor([[3, 5, 7, 9]])


def rounded() -> GPT:
    """Weights as a file of fp16 gives them."""
    gpt = model()
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.copy_(weight.half())
    return gpt


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
    gpt = rounded()
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


def quick() -> tuple[GPT, QuickLinear]:
    """A quickened model and one of its maps."""
    gpt = rounded()
    assert quicken(gpt) == 9
    return gpt, gpt.blocks[0].attn.qkv


@needed
def test_quick_maps_compute_the_same_to_rounding() -> None:
    plain, (gpt, _) = rounded(), quick()
    assert (spoken(gpt) - spoken(plain)).norm() / spoken(plain).norm() < 2e-6
    x = torch.randn(3, 1, 256).transpose(0, 2)[:128, :, 1:2].transpose(0, 2)  # [1, 1, 128], strided
    with torch.inference_mode():
        made, wanted = (m.blocks[0].attn.qkv(x) for m in (gpt, plain))
    assert torch.allclose(made, wanted, atol=1e-5)


@needed
def test_quick_maps_are_plain_where_they_are_not_speaking() -> None:
    """Whole passes and gradients: the very same numbers."""
    plain, (gpt, quick_map) = rounded(), quick()
    tokens = torch.arange(6)[None]
    outcomes = []
    for one in (plain, gpt):
        logits = one(TEXT, torch.tensor([4]), tokens)
        logits.square().sum().backward()
        outcomes.append((logits.detach(), one.blocks[0].attn.qkv.weight.grad))
    (logits, slope), (same_logits, same_slope) = outcomes
    assert torch.equal(logits, same_logits) and torch.equal(slope, same_slope)
    assert plain.state_dict().keys() == gpt.state_dict().keys()
    assert quick_map.weight.requires_grad and not is_packed(gpt)


@needed
def test_rows_side_by_side_are_what_each_is_alone() -> None:
    _, quick_map = quick()
    rows = torch.randn(7, 1, 128)
    with torch.inference_mode():
        together = quick_map(rows)
        alone = torch.cat([quick_map(row[None]) for row in rows])
    assert torch.allclose(together, alone, atol=1e-6)


def _in_place(gpt: GPT) -> None:
    with torch.no_grad():
        gpt.blocks[0].attn.qkv.weight.mul_(1.5)


def _of_the_bias(gpt: GPT) -> None:
    with torch.no_grad():
        gpt.blocks[0].attn.qkv.bias.add_(1.5)


def _exchanged(gpt: GPT) -> None:
    gpt.blocks[0].attn.qkv.weight = nn.Parameter(torch.randn(384, 128))


def _loaded(gpt: GPT) -> None:
    gpt.load_state_dict({name: 2 * value for name, value in gpt.state_dict().items()})


def _adapted(gpt: GPT) -> None:
    with torch.no_grad():
        for factor in adapt(gpt, 2):
            factor.add_(0.1)


def _merged(gpt: GPT) -> None:
    _adapted(gpt)
    merge(gpt)


def _trained(gpt: GPT) -> None:
    gpt.train().eval()
    for weight in gpt.parameters():  # as the trainers put averaged weights in
        weight.data = 2 * weight.data


CHANGES = [_in_place, _of_the_bias, _exchanged, _loaded, _adapted, _merged, _trained]


@needed
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_weights_is_heard(change: Callable[[GPT], None]) -> None:
    gpt, quick_map = quick()
    assert quick_map.current
    with torch.random.fork_rng():
        torch.manual_seed(1)
        change(gpt)
    assert not quick_map.current
    plain = rounded()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        change(plain)
    if change in (_loaded, _adapted, _merged, _trained):
        assert torch.equal(spoken(gpt), spoken(plain))
    assert torch.allclose(spoken(gpt), spoken(plain), atol=1e-4)


@needed
def test_copies_and_other_types_of_quick_maps_are_plain() -> None:
    gpt, quick_map = quick()
    twin = copy.deepcopy(gpt)
    assert not twin.blocks[0].attn.qkv.current and quick_map.current
    assert torch.equal(spoken(twin), spoken(rounded()))
    with torch.inference_mode():
        gpt.double()
        assert not quick_map.current
        assert quick_map(torch.ones(1, 1, 128, dtype=torch.float64)).dtype == torch.float64


@needed
def test_weights_that_fp16_would_round_stay_as_they_are() -> None:
    gpt = rounded()
    with torch.no_grad():
        gpt.blocks[0].attn.qkv.weight[0, 0] = 1 / 3
    assert quicken(gpt) == 8
    assert type(gpt.blocks[0].attn.qkv) is nn.Linear


@needed
def test_quick_maps_can_still_be_packed() -> None:
    gpt, _ = quick()
    assert pack_linears(gpt, "half") == 9 and is_packed(gpt)


@needed
def test_a_loaded_bundle_is_quick_and_saved_as_it_was(tiny: Bundle, tmp_path: Path) -> None:
    tiny.save(tmp_path / "a")
    loaded = Bundle.load(tmp_path / "a")
    assert isinstance(loaded.gpt.head, QuickLinear) and loaded.precision == "float32"
    loaded.save(tmp_path / "b")
    first, again = (checkpoint.load(tmp_path / name)[1] for name in ("a", "b"))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not FamilyBundle.quick, "published models in float32 are there to be compared with"


def test_nothing_is_quickened_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxray.models.packed.can_pack", lambda: False)
    assert quicken(rounded()) == 0


@needed
@pytest.mark.parametrize("kind", ["half", "int8"])
@torch.no_grad()
def test_maps_stored_as_fp16_are_packed_one_by_one(kind: Kind) -> None:
    model = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128)).half()
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    weights = [model[0].weight, model[2].weight]
    wanted = nn.Sequential(*(copy.deepcopy(part).float() for part in model))(x)
    seen: list[torch.Tensor] = []
    assert pack_linears(model, kind, seen.append) == 2
    assert all(a is b for a, b in zip(seen, weights, strict=True))
    assert torch.allclose(model(x), wanted, atol=1e-5 if kind == "half" else 0.1)
