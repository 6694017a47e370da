"""The masked step of fixed shape: the tokens of the plain step, on a CPU without a graph, on a GPU with one."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from voxray.config import GPTConfig
from voxray.decoding import TokenDecoder
from voxray.models.attention import KVCache
from voxray.models.gpt import GPT
from voxray.models.graphed import GraphedStep
from voxray.models.recorded import record_step
from voxray.sampling import SamplingOptions
from voxray.sites import record
from voxray.token_pool import advance_together

CONFIG = GPTConfig(
    text_symbols=30, width=32, n_layer=3, n_head=4, codebook_size=50, bos=False, pre_norm=False,
    activation="relu", guided_heads=(),
)  # fmt: skip
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def model(device: str = "cpu", kind: torch.dtype = torch.float32) -> GPT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gpt = GPT(CONFIG).eval()
    for block in gpt.blocks:  # the past matters
        block.attn.qkv.weight.data.mul_(8)
    return gpt.to(device, kind)


def read(gpt: GPT, seed: int = 0, text: int = 9, prompt: int = 6) -> tuple[torch.Tensor, KVCache]:
    dice = torch.Generator().manual_seed(seed)
    words, tokens = (
        torch.randint(30, (1, text), generator=dice),
        torch.randint(50, (1, prompt), generator=dice),
    )
    device = gpt.head.weight.device
    return gpt.prefill(words.to(device), torch.tensor([text], device=device), tokens.to(device))


def said(gpt: GPT, step: object, steps: int, seed: int = 0) -> tuple[list[int], torch.Tensor]:
    """The best token of each step, fed back, and all logits."""
    logits, cache = read(gpt, seed)
    made, seen = [], [logits]
    for _ in range(steps):
        made.append(int(seen[-1].argmax()))
        seen.append(step(torch.tensor([made[-1]], device=logits.device), cache))  # type: ignore[operator]
    assert cache.steps == steps
    return made, torch.stack(seen).float().cpu()


@torch.inference_mode()
@pytest.mark.parametrize("seed", [0, 1])
def test_the_masked_step_is_the_step(seed: int) -> None:
    gpt = model()
    step = GraphedStep(gpt, slots=64)
    assert not step.graphed
    wanted, exact = said(gpt, gpt.step, 40, seed)
    for _ in range(2):  # the second sentence sees nothing of the first
        made, logits = said(gpt, step, 40, seed)
        step.release()
        assert made == wanted and len(set(made)) > 3
        assert torch.allclose(logits, exact, atol=1e-4)
        said(gpt, step, 9, seed + 5)


@torch.inference_mode()
def test_empty_slots_take_no_part() -> None:
    """The published graph attends to them: here what lies in them cannot matter."""
    gpt = model()
    few, many = GraphedStep(gpt, slots=32), GraphedStep(gpt, slots=200)
    assert torch.allclose(said(gpt, few, 12)[1], said(gpt, many, 12)[1], atol=1e-5)
    _, cache = read(gpt)
    many(torch.tensor([1]), cache)
    for buffer in (*many.cache.keys, *many.cache.values):
        buffer[:, :, cache.length + 1 :] = 9.0
    _, other = read(gpt)
    assert not torch.equal(
        cache.keys[0][:, :, : cache.length], many.cache.keys[0][:, :, : cache.length]
    )
    gpt.step(torch.tensor([1]), other)
    given = torch.tensor([2])
    assert torch.allclose(many(given, cache), gpt.step(given, other), atol=1e-4)


@torch.inference_mode()
def test_where_it_cannot_go_on_the_plain_step_does() -> None:
    gpt = model()
    wanted, exact = said(gpt, gpt.step, 20)
    gpt.recorded = GraphedStep(gpt, slots=25)  # the last tokens find no slot
    made, logits = said(gpt, gpt.step, 20)
    assert made == wanted and torch.allclose(logits, exact, atol=1e-4)
    gpt.recorded = GraphedStep(gpt, slots=64)
    (first, one), (_, other) = read(gpt), read(gpt, 1)
    made = [int(first.argmax())]
    for step in range(20):  # somebody else has a turn, somebody watches
        with record(gpt, "blocks.0.resid") if step % 5 == 3 else nullcontext():
            logits = gpt.step(torch.tensor([made[-1]]), one)
        made.append(int(logits.argmax()))
        if step % 4 == 1:
            gpt.step(torch.tensor([1]), other)
    assert made[:20] == wanted
    one.ghosts = 20
    assert not gpt.recorded.takes(one)


def decoded(gpt: GPT) -> list[list[int]]:
    """The tokens of three sentences as the chain draws them, one alone and two side by side."""
    options = SamplingOptions(max_tokens=30, floor=30)
    alone, *others = (TokenDecoder(gpt, [4, 9, 2, 7], options, seed) for seed in (1, 1, 2))
    alone.advance()
    advance_together(others, 2)
    return [decoder.tokens for decoder in (alone, *others)]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_chain_draws_the_same_tokens(kind: torch.dtype) -> None:
    plain, masked = model(kind=kind), model(kind=kind)
    masked.recorded = GraphedStep(masked, slots=64)
    wanted, made = decoded(plain), decoded(masked)
    assert all(len(tokens) == 30 for tokens in made)
    if kind == torch.float32:
        assert made == wanted and made[0] == made[1] != made[2]


@GPU
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_chain_on_a_gpu(kind: torch.dtype) -> None:
    eager, graphed = model("cuda", kind), model("cuda", kind)
    assert record_step(graphed) and isinstance(graphed.recorded, GraphedStep)
    eager.recorded = GraphedStep(eager)
    eager.recorded._replay = None
    assert decoded(eager) == decoded(graphed)
    if kind == torch.float32:
        assert decoded(graphed) == decoded(model())


@GPU
@torch.inference_mode()
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_graph_says_the_tokens_of_the_eager_step(kind: torch.dtype) -> None:
    gpt = model("cuda", kind)
    graphed, eager = GraphedStep(gpt, slots=256), GraphedStep(gpt, slots=256)
    eager._replay = None
    assert graphed.graphed and not eager.graphed
    for seed in range(3):
        made, logits = said(gpt, graphed, 150, seed)
        wanted, exact = said(gpt, eager, 150, seed)
        assert made == wanted
        assert torch.equal(logits, exact)
        if kind == torch.float32:
            assert made == said(gpt, gpt.step, 150, seed)[0]
