"""Known defects of the published code: absent by default, there when asked for by name."""

from __future__ import annotations

import pytest
import torch

from conftest import speechlike
from voxray.bundle import Bundle, FamilyBundle
from voxray.decoding import PUBLISHED_SLOTS, TokenDecoder
from voxray.engine import check_options
from voxray.models.attention import Attention, KVCache
from voxray.sampling import SamplingOptions


@torch.inference_mode()
def test_ghost_slots_take_their_share_of_the_attention() -> None:
    """Zero keys have logit 0, not weight 0: the mixture shrinks by the mass they take."""
    torch.manual_seed(0)
    layer = Attention(16, 2, fused=True).eval()
    cache, plain = KVCache(), KVCache()
    before, now = torch.randn(1, 5, 16), torch.randn(1, 1, 16)
    for one in (cache, plain):
        layer(before, cache=one)
        one.length = 5
    cache.ghosts = 50
    query, key, value = layer._project(now, now)
    _, past_key, past_value = layer._project(before, before)
    keys, values = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    logits = (query * layer.scale) @ keys.transpose(2, 3)  # [1, H, 1, 6]
    weights = logits.exp() / (logits.exp().sum(-1, keepdim=True) + 44)
    wanted = layer.out((weights @ values).transpose(1, 2).flatten(2))
    assert torch.allclose(layer(now, cache=cache), wanted, atol=1e-6)
    exact = layer.out((logits.softmax(-1) @ values).transpose(1, 2).flatten(2))
    assert torch.allclose(layer(now, cache=plain), exact, atol=1e-6)


def test_the_switch_reaches_the_cache(tiny: Bundle) -> None:
    slots = []
    for options in (SamplingOptions(max_tokens=3), SamplingOptions(max_tokens=3, compat=("unmasked-cache",))):  # fmt: skip
        decoder = TokenDecoder(tiny.gpt, [1, 2, 3], options, 1)
        decoder.advance()
        assert decoder.cache is not None
        slots.append(decoder.cache.ghosts)
    assert slots == [0, PUBLISHED_SLOTS]
    assert check_options({"compat": ["unmasked-cache"]}).compat == ("unmasked-cache",)
    with pytest.raises(ValueError, match="compat"):
        check_options({"compat": ["everything"]})


def test_the_silence_behind_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    bundle = FamilyBundle.__new__(FamilyBundle)
    monkeypatch.setattr(
        FamilyBundle, "encode", lambda _, wave: heard.append(len(wave)) or torch.zeros(0)
    )
    wave = speechlike(4.0)
    for published in (True, False):
        bundle.published_silence = published
        bundle.prompt_tokens(wave, 16_000)
    assert heard == [64_000 + 9_600, 64_000 + 4_800]
    assert FamilyBundle.published_silence
