"""The GPT learns from its own takes: who is credited for what, that the numbers are those of speaking, and that it learns."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import speechlike
from voxray.bundle import Bundle
from voxray.decoding import TokenDecoder
from voxray.sampling import SamplingOptions
from voxray.train import clarity
from voxray.train.clarity import (
    ClarityTraining,
    Request,
    Requests,
    train_clarity,
)
from voxray.train.crowd import Crowd, Take
from voxray.train.crowd_tokens import Line
from voxray.train.gpt import guided_bias
from voxray.train.policy import Said, advantages, rows_of
from voxray.train.store import Entry, write_index
from voxray.watch import Watch, windows_of_rows

SETTINGS = ClarityTraining(
    steps=2, texts=2, takes=3, log_every=1, save_every=1, warmup=1, builtin=0.0, joined=0.0, fresh=1
)


@pytest.fixture
def model(listening: Bundle, tmp_path: Path) -> Path:
    listening.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    wave = (speechlike(2.0, 24_000) * 20_000).astype("<i2")
    texts = ["Come in.", "It was dark.", "好。"]
    entries = [
        Entry(f"c{i}", f"s{i}", "zh" if i == 2 else "en", text, "train", 8000, False, i * 48_000, 48_000)
        for i, text in enumerate(texts)
    ]  # fmt: skip
    write_index(folder, entries)
    np.concatenate([wave] * 3).tofile(folder / "wave.i16")
    return folder


def said(odds: Sequence[Sequence[float]], whole: Sequence[bool] = (True, True)) -> Said:
    """Three spoken phonemes and a pause between the first two; two tokens each."""
    path = [0, 0, 1, 2, 2, 3, 3]
    tokens = [[5] * 7 for _ in odds]
    return Said((7, 1, 8, 9), (0, 2, 3), tokens, [path] * len(odds), np.array(odds, np.float32), list(whole))  # fmt: skip


def test_what_came_out_clearer_is_credited_to_its_tokens() -> None:
    first, second = advantages([said([[0.0, -1.0, -1.0], [-2.0, -1.0, -1.0]])], whole=0.0)[0]
    assert np.allclose(first, -second) and len(first) == 8
    assert (
        first[0] > first[3] > first[5] == 0.0
    )  # the phoneme itself, its neighbour, the one behind
    assert first[2] == 0.0 and first[7] == 0.0  # a pause and the end stand for no phoneme
    both = advantages([said([[0.0, -1.0, -1.0], [-2.0, -1.0, -1.0]])])[0]
    assert both[0][7] > 0.0 > both[1][7]  # the whole of a take counts as well
    faulty = advantages([said([[-1.0] * 3, [-1.0] * 3], (True, False))])[0]
    assert (faulty[0] > 0).all() and (faulty[1] < 0).all()


def test_the_numbers_are_those_of_speaking(model: Path) -> None:
    gpt = Bundle.load(model, precision="float32").gpt
    words = [-1, 0, 0, 1, 1, -1, 2, 2]
    ids = [1, 9, 8, 7, 6, 1, 5, 4]
    greedy = SamplingOptions(temperature=0.0, repetition_penalty=1.0, max_tokens=30, floor=0)
    watch = Watch(words, gpt.config.guided_heads)
    decoder = TokenDecoder(gpt, ids, greedy, 3, watch=watch)
    decoder.advance()
    assert not decoder.redraws and len(decoder.tokens) > 5
    spoken = [p for p, word in enumerate(words) if word >= 0]
    one = Said(tuple(ids), tuple(spoken), [decoder.tokens], [decoder.path], np.zeros((1, 6)), [True])  # fmt: skip
    batch = rows_of([one], advantages([one]), gpt.end)
    assert batch[3][0, -1] == gpt.end and batch[4][0, :-1].tolist() == decoder.path
    shut = guided_bias(gpt, batch[4], len(ids), None)
    layer, head = gpt.config.guided_heads[0]
    seen = copy.copy(watch)
    for step in (0, 3, len(decoder.tokens) - 1):
        seen.rows = watch.rows[: step + 1]
        assert torch.equal(
            shut[layer][0, head, step, : len(ids)] < 0, windows_of_rows([seen], len(ids))[0] < 0
        )
    with torch.inference_mode():
        logits = gpt(batch[0], batch[1], batch[2], None, None, shut)[0]
    steps = len(decoder.tokens) - 1  # the last may end by the watch
    assert logits[:steps, : gpt.end].argmax(1).tolist() == decoder.tokens[:steps]


def test_a_run_is_resumed_and_gives_a_model(model: Path, data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    made = train_clarity(data, tmp_path / "run", SETTINGS, model, told.append)
    old, new = Bundle.load(model), Bundle.load(made)
    assert new.phones is not None and new.weights_hash != old.weights_hash
    moved = [not torch.equal(p, q) for p, q in zip(old.gpt.parameters(), new.gpt.parameters(), strict=True)]  # fmt: skip
    assert any(moved)
    for part in ("generator", "content", "quantiser"):
        states = getattr(old, part).state_dict(), getattr(new, part).state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    train_clarity(data, tmp_path / "run", SETTINGS.model_copy(update={"steps": 3}), model)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "loss"] == [1, 2, 3]
    assert {"clarity", "best", "moved", "pace", "faults"} <= set(rows[0])


def test_requests_depend_on_their_number(model: Path, data: Path, tmp_path: Path) -> None:
    ask = Requests(data, model, "tiny", tmp_path, SETTINGS)
    assert ask(5) == ask(5) != ask(6)
    assert {voice for n in range(20) for voice in ask(n).voices} <= {"s0", "s1", "s2"}
    own = SETTINGS.model_copy(update={"builtin": 1.0})
    builtin = Requests(data, model, "mini", tmp_path, own)
    assert not {voice for n in range(9) for voice in builtin(n).voices} & {"s0", "s1", "s2"}
    others = Requests(data, model, "tiny", tmp_path, own)  # the built-in voices are not its own
    assert {voice for n in range(9) for voice in others(n).voices} <= {"s0", "s1", "s2"}


def test_what_is_rewarded_is_learnt(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = clarity.say

    def planted(request: Request) -> list[Said]:
        """Even tokens are clear, odd ones are not."""
        made = ask(request)
        for piece in made:
            for take, (tokens, path) in enumerate(zip(piece.tokens, piece.paths, strict=True)):
                for place, phoneme in enumerate(piece.spoken):
                    own = [t % 2 for t, p in zip(tokens, path, strict=True) if p == phoneme]
                    piece.odds[take, place] = -3.0 * float(np.mean(own)) if own else -3.0
        return made

    monkeypatch.setattr(clarity, "say", planted)
    settings = SETTINGS.model_copy(
        update={"steps": 14, "rate": 1e-2, "stay": 0.0, "ema": 0.0, "clip": 10.0}
    )
    train_clarity(data, tmp_path / "run", settings, model)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    heard = [row["clarity"] for row in rows if row["kind"] == "takes"]
    assert np.mean(heard[-4:]) > np.mean(heard[:3]) + 0.3


def logged(folder: Path) -> Callable[[str], list[dict[str, float]]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return lambda kind: [row for row in rows if row["kind"] == kind]


def test_a_crowd_is_resumed_and_gives_a_model(
    model: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    settings = SETTINGS.model_copy(update={"crowd": True, "sounded": 4, "learnt": 4})
    made = train_clarity(data, tmp_path / "run", settings, model)
    old, new = Bundle.load(model), Bundle.load(made)
    assert new.phones is not None and new.weights_hash != old.weights_hash
    states = old.generator.state_dict(), new.generator.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    train_clarity(data, tmp_path / "run", settings.model_copy(update={"steps": 3}), model)
    rows = logged(tmp_path / "run")
    assert [row["step"] for row in rows("loss")] == [1, 2, 3]
    takes = rows("takes")
    assert {"reading", "sampling", "sounding", "hearing", "count"} <= set(takes[0])
    assert "learning" in takes[1] and {"clarity", "best", "moved", "pace"} <= set(takes[0])


def test_what_is_rewarded_is_learnt_in_a_crowd(
    model: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even tokens are clear, odd ones are not."""
    say = Crowd.say

    def planted(crowd: Crowd, given: list[Line], takes: int, seed: int) -> list[list[Take]]:
        made = say(crowd, given, takes, seed)
        for line, own in zip(given, made, strict=True):
            for take in own:
                for place, phoneme in enumerate(line.spoken):
                    odd = [
                        t % 2 for t, p in zip(take.tokens, take.path, strict=True) if p == phoneme
                    ]
                    take.odds[place] = -3.0 * float(np.mean(odd)) if odd else -3.0
        return made

    monkeypatch.setattr(Crowd, "say", planted)
    settings = SETTINGS.model_copy(
        update={"steps": 14, "rate": 1e-2, "stay": 0.0, "ema": 0.0, "clip": 10.0, "crowd": True}
    )
    train_clarity(data, tmp_path / "run", settings, model)
    heard = [row["clarity"] for row in logged(tmp_path / "run")("takes")]
    assert np.mean(heard[-4:]) > np.mean(heard[:3]) + 0.3


def test_who_cannot_listen_cannot_learn(tiny: Bundle, data: Path, tmp_path: Path) -> None:
    tiny.save(tmp_path / "deaf")
    with pytest.raises(ValueError, match="cannot hear"):
        train_clarity(data, tmp_path / "run", SETTINGS, tmp_path / "deaf")
