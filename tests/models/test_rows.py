"""Rows that join and leave: each is what `step` gives alone, and nothing of the last user remains."""

from __future__ import annotations

import pytest
import torch

from voxray.config import GPTConfig
from voxray.models.attention import KVCache
from voxray.models.gpt import GPT
from voxray.models.rows import RowCache

CONFIG = GPTConfig(text_symbols=20, codebook_size=16, width=32, n_layer=2, n_head=2)


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "published"])
def gpt(request: pytest.FixtureRequest) -> GPT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT(CONFIG.model_copy(update={"bos": request.param})).eval()


def read(gpt: GPT, text: int, prompt: int) -> KVCache:
    dice = torch.Generator().manual_seed(text)
    ids = torch.randint(0, 20, (1, text), generator=dice)
    tokens = torch.randint(0, 16, (1, prompt), generator=dice)
    return gpt.prefill(ids, torch.tensor([text]), tokens)[1]


@torch.inference_mode()
def test_rows_of_all_lengths_step_together(gpt: GPT) -> None:
    sizes = [(5, 1), (9, 3), (3, 7), (12, 1)]
    alone = [read(gpt, *size) for size in sizes]
    rows, live = RowCache(), []
    for turn in range(300):  # past the spare room of the buffers
        if turn % 3 == 0 and turn // 3 < len(sizes):
            live.append(turn // 3)
            rows.join(read(gpt, *sizes[turn // 3]))
        if turn == 20:  # row 0 leaves; the last one takes its number
            rows.leave(0)
            live[0] = live.pop()
        tokens = torch.tensor([(turn + one) % 16 for one in live])
        together = gpt.step_rows(tokens, rows)
        for row, one in enumerate(live):
            expected = gpt.step(tokens[row : row + 1], alone[one])[0]
            assert torch.allclose(together[row], expected, atol=1e-5), (turn, one)
        assert rows.lengths.tolist() == [alone[one].length for one in live]


@torch.inference_mode()
def test_a_row_goes_on_alone_and_joins_again(gpt: GPT) -> None:
    one, rows = read(gpt, 5, 2), RowCache()
    rows.join(read(gpt, 8, 2))
    rows.join(one)
    token = torch.tensor([3, 3])
    gpt.step_rows(token, rows)
    gpt.step(token[:1], one)
    copied = rows.copy(1)
    assert (copied.length, copied.text, copied.steps > 0) == (one.length, one.text, True)
    assert torch.allclose(gpt.step(token[:1], copied), gpt.step(token[:1], one), atol=1e-5)


@torch.inference_mode()
def test_nothing_of_the_last_user_remains(gpt: GPT) -> None:
    rows = RowCache()
    rows.join(read(gpt, 3, 1))
    rows.join(read(gpt, 12, 5))
    rows.keys[0][1] = float("nan")
    rows.values[0][1] = float("nan")
    rows.leave(1)
    rows.join(read(gpt, 2, 1))
    assert torch.isfinite(gpt.step_rows(torch.tensor([1, 2]), rows)).all()
    rows.leave(0)
    rows.leave(0)
    assert len(rows) == 0 and not rows.keys, "an empty cache holds no memory"


def test_what_is_no_single_sentence_is_refused(gpt: GPT) -> None:
    _, two = gpt.prefill(torch.ones(2, 4, dtype=torch.long), torch.tensor([4, 2]))
    with pytest.raises(ValueError, match="one sentence"):
        RowCache().join(two)


@torch.inference_mode()
def test_room_goes_when_a_crowd_has_left(gpt: GPT) -> None:
    sizes = [(5 + number, 2) for number in range(12)]
    alone, rows = [read(gpt, *size) for size in sizes], RowCache()
    for size in [*sizes, (12, 400)]:  # the last one is long, and leaves first
        rows.join(read(gpt, *size))
    crowded = rows.keys[0].shape
    while len(rows) > 2:
        rows.leave(len(rows) - 1)
    assert rows.keys[0].numel() < crowded.numel() / 2
    assert {buffer.shape for buffer in (*rows.keys, *rows.values)} == {rows.keys[0].shape}
    tokens = torch.tensor([3, 4])
    together = gpt.step_rows(tokens, rows)
    for row in range(2):
        expected = gpt.step(tokens[row : row + 1], alone[row])[0]
        assert torch.allclose(together[row], expected, atol=1e-5)
