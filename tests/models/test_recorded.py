"""Recorded steps: the same numbers as the model's own, and out of the way where somebody looks."""

from __future__ import annotations

import copy

import pytest
import torch

from voxray.config import GPTConfig
from voxray.models.attention import KVCache
from voxray.models.gpt import GPT
from voxray.models.packed import can_pack, pack_linears
from voxray.models.recorded import WORTH, record_step, recorded_rows
from voxray.models.rows import RowCache
from voxray.sites import attach, record, sites
from voxray.watch import Watch, edits_of_rows, windows_of_rows

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


# --- rows -----------------------------------------------------------------------------------------

WATCHED = CONFIG.model_copy(update={"guided_heads": ((0, 1), (1, 0)), "bos": True})
TEXTS = (torch.tensor([[3, 5, 7, 9]]), torch.tensor([[4, 6, 8, 2, 1, 9]]))


def busy(config: GPTConfig) -> GPT:
    """One that has stepped so much that a recording is worth its time."""
    gpt = model(config)
    gpt.rows_stepped = WORTH
    return gpt


@torch.inference_mode()
def stepped(gpt: GPT, texts: tuple[torch.Tensor, ...], steps: int, recorded: bool) -> torch.Tensor:
    rows = RowCache()
    for text in texts:
        rows.join(gpt.prefill(text, torch.tensor([text.shape[1]]))[1])
    watches = [Watch(range(text.shape[1]), gpt.config.guided_heads) for text in texts]
    made = []
    for step in range(steps):
        token = torch.arange(len(texts)) + step % 5
        for watch in watches:
            watch.feed()
        if recorded:
            rec = recorded_rows(gpt)
            assert rec is not None and rec.takes()
            logits, seen = rec(token, rows, windows_of_rows(watches, rows.longest))
            for row, watch in enumerate(watches):
                watch.see(seen[row, :, : len(watch.words)])
        else:
            with attach(gpt, edits_of_rows(watches)):
                logits = gpt.step_rows(token, rows)
        for watch in watches:
            watch.look()
            watch.settle()
        made.append(
            torch.cat([logits.flatten(), torch.tensor([w.pointer for w in watches]).float()])
        )
    return torch.stack(made)


@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS, (*TEXTS, TEXTS[0])])
def test_watched_rows_are_replayed_alike(texts: tuple[torch.Tensor, ...]) -> None:
    gpt = busy(WATCHED)
    steps = 280  # the buffers grow on the way
    plain, quick = (stepped(gpt, texts, steps, recorded) for recorded in (False, True))
    assert torch.allclose(plain, quick, atol=1e-4)


def test_other_weights_are_recorded_anew() -> None:
    gpt = busy(WATCHED)
    first = recorded_rows(gpt)
    assert first is not None and recorded_rows(gpt) is first
    with torch.inference_mode():
        assert first.takes()
        with record(gpt, ["logits"]):
            assert not first.takes()
    with torch.no_grad():
        gpt.head.weight.add_(1.0)
    with torch.inference_mode():
        assert not first.takes()
    second = recorded_rows(gpt)
    assert second is not first
    gpt.head.weight = torch.nn.Parameter(gpt.head.weight.detach().clone())
    assert recorded_rows(gpt) is not second
    gpt.train()
    assert recorded_rows(gpt) is None
    assert copy.deepcopy(gpt).recorded_rows is None


def test_nothing_is_recorded_too_early_or_of_what_cannot_be_followed() -> None:
    assert recorded_rows(busy(CONFIG)) is None  # no guided heads
    gpt = model(WATCHED)
    assert recorded_rows(gpt) is None
    stepped(gpt, TEXTS, 5, recorded=False)
    assert gpt.rows_stepped == 5 and recorded_rows(gpt) is None
    gpt.rows_stepped = WORTH
    assert recorded_rows(gpt) is not None
    with torch.inference_mode():
        assert (
            recorded_rows(busy(WATCHED)) is None
        )  # its weights do not say when they are written to
