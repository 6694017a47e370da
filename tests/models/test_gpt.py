"""GPT: shapes, cached == uncached, padding, masks, recording, guided bias; both presets."""

from __future__ import annotations

import pytest
import torch

from voxray.config import GPTConfig
from voxray.models.gpt import GPT
from voxray.sites import Moment, attach, record, sites, timed

SMALL = {"text_symbols": 20, "codebook_size": 30, "width": 32, "n_layer": 2, "n_head": 2}
MINI = GPTConfig(**SMALL, guided_heads=((1, 0),))
PUBLISHED = GPTConfig(
    **SMALL, pre_norm=False, activation="relu", bos=False, context_width=6, guided_heads=()
)


@pytest.fixture(params=[MINI, PUBLISHED], ids=["mini", "published"])
def tiny(request: pytest.FixtureRequest) -> GPT:
    torch.manual_seed(0)
    return GPT(request.param).eval()


def batch() -> tuple[torch.Tensor, ...]:
    dice = torch.Generator().manual_seed(0)
    text = torch.randint(0, 20, (2, 7), generator=dice)
    tokens = torch.randint(0, 30, (2, 9), generator=dice)
    return text, torch.tensor([7, 4]), tokens, torch.tensor([9, 6])


@torch.no_grad()
def test_shapes(tiny: GPT) -> None:
    assert tiny(*batch()).shape == (2, 10, 31)


@pytest.mark.parametrize("prompt", [0, 4])
@torch.no_grad()
def test_cached_equals_uncached(tiny: GPT, prompt: int) -> None:
    text, lengths, tokens, token_lengths = batch()
    whole = tiny(text, lengths, tokens, token_lengths)
    logits, cache = tiny.prefill(text, lengths, tokens[:, :prompt])
    assert torch.allclose(logits, whole[:, prompt], atol=1e-5)
    for i in range(prompt, 9):
        logits = tiny.step(tokens[:, i], cache)
        assert torch.allclose(logits, whole[:, i + 1], atol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing(tiny: GPT) -> None:
    text, lengths, tokens, token_lengths = batch()
    whole = tiny(text, lengths, tokens, token_lengths)
    alone = tiny(text[1:, :4], lengths[1:], tokens[1:, :6], token_lengths[1:])
    assert torch.allclose(alone, whole[1:, :7], atol=1e-5)


@torch.no_grad()
def test_text_sees_no_audio_and_audio_no_future(tiny: GPT) -> None:
    text, lengths, tokens, token_lengths = batch()
    other = tokens.clone()
    other[:, 5] = (other[:, 5] + 1) % 30
    with record(tiny, "blocks.1.resid") as seen:
        first, second = (tiny(text, lengths, t, token_lengths) for t in (tokens, other))
    one, two = seen["blocks.1.resid"]
    assert torch.equal(one[:, :7], two[:, :7])  # text rows
    assert torch.allclose(first[:, :6], second[:, :6], atol=1e-6)
    assert not torch.allclose(first[:, 6], second[:, 6], atol=1e-4)


@torch.no_grad()
def test_recording_changes_nothing(tiny: GPT) -> None:
    plain = tiny(*batch())
    names = ["*.resid", "*.z", "*.mlp", "embed", "logits", "*.q", "*.k", "*.v"]
    with record(tiny, names) as seen:
        assert torch.equal(tiny(*batch()), plain)
    assert torch.equal(seen["logits"][0], plain)


@torch.no_grad()
def test_written_out_pattern_equals_the_fused_kernel(tiny: GPT) -> None:
    plain = tiny(*batch())
    with record(tiny, "*") as seen:
        assert torch.allclose(tiny(*batch()), plain, atol=1e-5)
    length = 7 + 9 + (tiny.bos is not None)
    assert seen["blocks.0.attn.pattern"][0].shape == (2, 2, length, length)
    assert seen["blocks.0.attn.z"][0].shape == (2, length, 2, 16)


@torch.no_grad()
def test_every_site_is_called_and_acts(tiny: GPT) -> None:
    plain = tiny(*batch())
    for name in sites(tiny):
        edit = (lambda x: x.roll(1, -1)) if name.endswith("pattern") else (lambda x: x * 0.5 + 0.1)
        if name.endswith("bias"):
            edit = lambda x: x + torch.arange(x.shape[-1])  # noqa: E731
        with attach(tiny, {name: edit}):
            assert not torch.equal(tiny(*batch()), plain), name
    assert torch.equal(tiny(*batch()), plain)


@torch.no_grad()
def test_text_bias_moves_audio_rows_only() -> None:
    torch.manual_seed(0)
    model = GPT(MINI).eval()
    text, lengths, tokens, token_lengths = batch()
    bias = torch.zeros(1, 2, 1, 7 + 10)
    bias[:, 0, :, 2] = 50.0  # head 0 is made to look at phone 2
    with record(model, "blocks.1.attn.pattern") as seen:
        model(text, lengths, tokens, token_lengths, text_bias={1: bias})
        model(text, lengths, tokens, token_lengths)
    guided, plain = seen["blocks.1.attn.pattern"]
    assert guided[:, 0, 7:, 2].min() > 0.99
    assert torch.equal(guided[:, 1], plain[:, 1]) and torch.equal(guided[:, 0, :7], plain[:, 0, :7])


@torch.no_grad()
def test_moment_counts_steps_and_positions(tiny: GPT) -> None:
    text, lengths, tokens, _ = batch()
    seen: list[tuple[int, range]] = []

    @timed
    def look(x: torch.Tensor, moment: Moment) -> torch.Tensor:
        seen.append((moment.step, moment.positions))
        return x

    with attach(tiny, {"blocks.0.resid": look}):
        _, cache = tiny.prefill(text, lengths)
        tiny.step(tokens[:, 0], cache)
        tiny.step(tokens[:, 1], cache)
    start = 7 + (tiny.bos is not None)
    assert seen == [
        (-1, range(start)),
        (0, range(start, start + 1)),
        (1, range(start + 1, start + 2)),
    ]


def test_dropping_a_finished_row_keeps_the_others() -> None:
    torch.manual_seed(0)
    model = GPT(MINI).eval()
    text, lengths, tokens, _ = batch()
    with torch.no_grad():
        _, cache = model.prefill(text, lengths)
        kept = cache.select(torch.tensor([1]))
        both = model.step(tokens[:, 0], cache)
        assert torch.allclose(model.step(tokens[1:, 0], kept), both[1:], atol=1e-5)


def test_gradients_reach_every_weight(tiny: GPT) -> None:
    text, lengths, tokens, token_lengths = batch()
    width = tiny.config.context_width
    context = torch.randn(2, 7, width) if width else None
    tiny(text, lengths, tokens, token_lengths, context).square().mean().backward()
    assert all(weight.grad is not None for weight in tiny.parameters())


def test_border_errors() -> None:
    model = GPT(MINI.model_copy(update={"max_positions": 8}))
    text, lengths, tokens, token_lengths = batch()
    with pytest.raises(ValueError, match="shorter"):
        model(text, lengths, tokens, token_lengths)
    with pytest.raises(ValueError, match="context"):
        GPT(MINI)(text, lengths, tokens, token_lengths, torch.zeros(2, 7, 4))
