"""Attention: the fused kernel and the written-out softmax agree; masks, windows and the cache."""

from __future__ import annotations

import pytest
import torch

from voxray.models.attention import Attention, KVCache
from voxray.sites import attach, record


@pytest.fixture()
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(16, 2, fused=True).eval()


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_fused_equals_written_out(attention: Attention) -> None:
    x = some(2, 7, 16)
    mask = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril()
    fused = attention(x, mask=mask)
    with record(attention, ["pattern", "z"]) as seen:
        explicit = attention(x, mask=mask)
    assert torch.allclose(fused, explicit, atol=1e-5)
    pattern = seen["pattern"][0]
    assert pattern.shape == (2, 2, 7, 7) and seen["z"][0].shape == (2, 7, 2, 8)
    assert torch.allclose(pattern.sum(-1), torch.ones(2, 2, 7), atol=1e-6)
    assert pattern.triu(1).abs().max() == 0


def test_mask_and_bias_are_one_tensor_at_the_bias_site(attention: Attention) -> None:
    x, mask = some(2, 5, 16), torch.ones(1, 1, 5, 5, dtype=torch.bool).tril()
    plain = attention(x, mask=mask)
    with record(attention, "bias") as seen:
        assert torch.allclose(attention(x, mask=mask), plain, atol=1e-5)
    bias = seen["bias"][0]
    assert bias.shape == (1, 2, 5, 5)
    assert torch.isinf(bias[0, 0, 0, 1]) and bias[0, 0, 1, 0] == 0


def test_log_gain_on_a_column_scales_its_weight(attention: Attention) -> None:
    x, gain = some(1, 6, 16), 3.0
    with record(attention, "pattern") as before:
        attention(x)
    column = torch.zeros(6)
    column[2] = torch.tensor(gain).log()
    with attach(attention, {"bias": lambda bias: bias + column}):
        fused = attention(x)
        with record(attention, "pattern") as after:
            assert torch.allclose(attention(x), fused, atol=1e-5)
    weights = before["pattern"][0].clone()
    weights[..., 2] *= gain
    expected = weights / weights.sum(-1, keepdim=True)
    assert torch.allclose(after["pattern"][0], expected, atol=1e-6)


def test_gradient_reaches_a_recorded_pattern(attention: Attention) -> None:
    with record(attention, "pattern") as seen:
        attention(some(1, 4, 16))
    seen["pattern"][0][0, 0, 3, 1].backward()
    assert attention.qkv.weight.grad is not None


def test_cross_attention_ignores_masked_keys() -> None:
    cross = Attention(16, 4, source_width=8).eval()
    x, source = some(2, 5, 16), some(2, 6, 8)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2, dtype=torch.bool)[:, None, None]
    assert torch.allclose(cross(x, source, mask=mask), cross(x, source[:, :4]), atol=1e-5)


def relative_by_hand(layer: Attention, x: torch.Tensor) -> torch.Tensor:
    """Loops over every pair of positions: slow and obvious."""
    query, key, value = layer._project(x, x)
    window, relative = layer.relative.window, layer.relative
    length = x.shape[1]
    rows = []
    for i in range(length):
        logits, values = [], []
        for j in range(length):
            near = abs(j - i) <= window
            k = key[:, :, j] + (relative.key[j - i + window] if near else 0)
            values.append(value[:, :, j] + (relative.value[j - i + window] if near else 0))
            logits.append((query[:, :, i] * k).sum(-1) * layer.scale)
        pattern = torch.stack(logits, -1).softmax(-1)
        rows.append((pattern[..., None] * torch.stack(values, 2)).sum(2))
    return layer.out(torch.stack(rows, 1).flatten(2))


@pytest.mark.parametrize("length", [1, 3, 9])
def test_relative_positions_equal_the_loop(length: int) -> None:
    torch.manual_seed(0)
    layer = Attention(16, 2, window=2).eval()
    x = some(2, length, 16)
    assert torch.allclose(layer(x), relative_by_hand(layer, x), atol=1e-5)


def test_cache_grows_past_its_buffer(attention: Attention) -> None:
    x = some(1, 300, 16)
    mask = torch.ones(1, 1, 300, 300, dtype=torch.bool).tril()
    whole = attention(x, mask=mask)
    cache = KVCache()
    for i in range(300):
        one = attention(x[:, i : i + 1], cache=cache)
        cache.length += 1
    assert cache.keys[0].shape[2] > 300
    assert torch.allclose(one, whole[:, -1:], atol=1e-5)


def test_cache_select_keeps_the_chosen_rows(attention: Attention) -> None:
    cache = KVCache()
    attention(some(3, 4, 16), cache=cache)
    cache.length = 4
    kept = cache.select(torch.tensor([2, 0]))
    assert torch.equal(kept.keys[0][:, :, :4], cache.keys[0][[2, 0], :, :4])
    assert kept.length == 4


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        Attention(10, 3)
    with pytest.raises(ValueError, match="self-attention"):
        Attention(8, 2, fused=True, source_width=4)
