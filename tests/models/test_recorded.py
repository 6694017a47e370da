"""Recorded steps: the same numbers as the model's own, and out of the way where somebody looks."""

from __future__ import annotations

import copy

import pytest
import torch

from voxray.config import GPTConfig
from voxray.models.attention import KVCache
from voxray.models.gpt import GPT
from voxray.models.packed import can_pack, pack_linears
from voxray.models.recorded import record_step
from voxray.sites import attach, record, sites

CONFIG = GPTConfig(width=128, n_layer=2, n_head=2, guided_heads=(), bos=False, pre_norm=False)
TEXT = torch.tensor([[3, 5, 7, 9]])


def model(config: GPTConfig = CONFIG, kind: str | None = None) -> GPT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gpt = GPT(config).eval()
    if kind is not None:
        pack_linears(gpt, kind)  # type: ignore[arg-type]
    return gpt


@torch.inference_mode()
def spoken(gpt: GPT, steps: int = 4) -> tuple[torch.Tensor, KVCache]:
    logits, cache = gpt.prefill(TEXT, torch.tensor([4]), torch.arange(6)[None])
    made = [gpt.step(torch.tensor([t % 7]), cache) for t in range(steps)]
    return torch.stack([logits, *made]), cache


@pytest.mark.parametrize("kind", [None, "half", "int8"])
@pytest.mark.parametrize("more", [{}, {"bos": True, "pre_norm": True}, {"kept_heads": (1, 2)}])
def test_bit_for_bit_the_same(kind: str | None, more: dict[str, object]) -> None:
    if kind is not None and not can_pack():
        pytest.skip("this processor has no packed kernels")
    plain, quick = (model(CONFIG.model_copy(update=more), kind) for _ in range(2))
    assert record_step(quick)
    steps = 300  # the cache grows on the way
    (wanted, cache), (made, other) = spoken(plain, steps), spoken(quick, steps)
    assert torch.equal(made, wanted)
    assert (cache.length, cache.steps) == (other.length, other.steps)
    end = cache.length
    for ours, theirs in zip(other.keys, cache.keys, strict=True):
        assert torch.equal(ours[:, :, :end], theirs[:, :, :end])


def test_it_is_replayed_and_not_where_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    gpt = model()
    record_step(gpt)
    recorded = gpt.recorded
    assert recorded is not None
    replays: list[int] = []
    real = recorded._step

    def counted(*given: torch.Tensor) -> torch.Tensor:
        replays.append(1)
        return real(*given)

    monkeypatch.setattr(recorded, "_step", counted)
    wanted, _ = spoken(gpt)
    assert len(replays) == 4
    with record(gpt, "blocks.1.resid") as seen:
        watched, _ = spoken(gpt)
    assert len(replays) == 4 and len(seen["blocks.1.resid"]) == 5
    assert torch.equal(watched, wanted)
    with attach(gpt, {"blocks.0.attn.z": torch.zeros_like}):
        edited, _ = spoken(gpt)
    assert len(replays) == 4 and not torch.equal(edited, wanted)
    assert torch.equal(spoken(gpt)[0], wanted)


def test_caches_that_hide_slots_are_stepped_through() -> None:
    gpt = model()
    record_step(gpt)
    assert gpt.recorded is not None
    text, lengths = torch.tensor([[3, 5, 7, 9], [3, 5, 0, 0]]), torch.tensor([4, 2])
    with torch.inference_mode():
        _, cache = gpt.prefill(text, lengths, torch.arange(12).view(2, 6))
        assert cache.mask is not None and not gpt.recorded.takes(cache)
        _, plain = gpt.prefill(TEXT, torch.tensor([4]))
        assert gpt.recorded.takes(plain)
        plain.ghosts = 9
        assert not gpt.recorded.takes(plain)


def test_the_longest_speech_is_an_error_as_ever() -> None:
    gpt = model(CONFIG.model_copy(update={"max_positions": 8}))
    record_step(gpt)
    with pytest.raises(ValueError, match="shorter pieces"):
        spoken(gpt, 3)


def test_it_leaves_no_trace_in_the_model() -> None:
    plain, quick = model(), model()
    record_step(quick)
    assert quick.state_dict().keys() == plain.state_dict().keys()
    assert sites(quick).keys() == sites(plain).keys()
    assert copy.deepcopy(quick).recorded is None


def test_where_nothing_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no interpreter here")

    monkeypatch.setattr("torch.jit.trace", refuse)
    gpt = model()
    assert not record_step(gpt)
    assert torch.equal(spoken(gpt)[0], spoken(model())[0])
