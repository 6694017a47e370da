"""Smaller models on the tiny system: pruning is exact, the best order is found, the student speaks."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from voxray.bundle import Bundle
from voxray.compress import pruning, ranking, student
from voxray.config import GPTConfig, StudentConfig
from voxray.engine import tts
from voxray.models.gpt import GPT
from voxray.models.student import Student
from voxray.train.gpt import Row
from voxray.voice import Voice

FEW = student.StudentTraining(
    model=StudentConfig(width=32, text_width=16), steps=3, batch=2, log_every=1, save_every=1, warmup=1
)  # fmt: skip


def given(gpt: GPT, seed: int = 0) -> list[Tensor]:
    dice = torch.Generator().manual_seed(seed)
    ids = torch.randint(gpt.config.text_symbols, (2, 7), generator=dice)
    tokens = torch.randint(gpt.config.codebook_size, (2, 9), generator=dice)
    return [ids, torch.tensor([7, 5]), tokens]


def loss(gpt: GPT, batch: list[Tensor]) -> Tensor:
    logits = gpt(*batch)[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[2].flatten())


def planted(dead: list[tuple[int, int]]) -> GPT:
    """A GPT of three layers and four heads, some of which say next to nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        gpt = GPT(GPTConfig(width=32, n_layer=3, n_head=4, guided_heads=((1, 2),))).eval()
    with torch.no_grad():
        for block in gpt.blocks:
            block.attn.out.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
        for layer, head in dead:
            gpt.blocks[layer].attn.out.weight[:, head * 8 : head * 8 + 8] *= 1e-4
    return gpt


@pytest.mark.parametrize("heads", [[(0, 1)], [(0, 0), (0, 3), (1, 1), (2, 0), (2, 1)]])
def test_a_pruned_model_says_what_the_masked_one_says(tiny: Bundle, heads: Any) -> None:
    gpt = planted([])
    bundle = replace(tiny, gpt=gpt)
    small = pruning.pruned(bundle, heads)
    assert torch.allclose(
        small.gpt(*given(gpt)), pruning.without(bundle, heads).gpt(*given(gpt)), atol=1e-5
    )
    assert pruning.share_gone(gpt, small.gpt) == pytest.approx(len(heads) / 12)
    assert pruning.parameters(small.gpt) < pruning.parameters(gpt)
    layer, head = small.gpt.config.guided_heads[0]
    depth = slice(8 * head, 8 * head + 8)
    assert torch.equal(
        small.gpt.blocks[layer].attn.out.weight[:, depth], gpt.blocks[1].attn.out.weight[:, 16:24]
    )


def test_what_a_head_always_says_stays_said(tiny: Bundle) -> None:
    gpt = planted([])
    bundle = replace(tiny, gpt=gpt)
    batches = [given(gpt, seed) for seed in range(3)]
    means, heads = ranking.mean_outputs(gpt, batches, loss), [(0, 1), (1, 0), (2, 0), (2, 3)]
    small = pruning.pruned(bundle, heads, means=means)
    masked = pruning.without(bundle, heads, means)
    assert torch.allclose(small.gpt(*given(gpt)), masked.gpt(*given(gpt)), atol=1e-5)
    whole = gpt(*given(gpt))
    apart = [
        float((model.gpt(*given(gpt)) - whole).square().mean())
        for model in (small, pruning.pruned(bundle, heads))
    ]
    assert apart[0] < apart[1]


def test_of_two_heads_that_stand_in_for_each_other_one_stays() -> None:
    twins = [(0, 0), (0, 1)]
    gpt = planted([(n, h) for n in range(3) for h in range(4) if (n, h) not in twins])
    batches = [given(gpt)]
    clean = {id(batch): gpt(*batch).detach() for batch in batches}

    def moved(model: GPT, batch: list[Tensor]) -> Tensor:
        return (model(*batch) - clean[id(batch)]).square().mean()

    one = max(ranking.by_effect(gpt, batches, moved).scores[twin] for twin in twins)

    def missed(model: GPT, batch: list[Tensor]) -> Tensor:
        """Nothing is lost while one of the twins is there."""
        return torch.relu(moved(model, batch) - 1.1 * one)

    assert ranking.by_effect(gpt, batches, missed).worst(2) == twins
    found = ranking.by_effect(gpt, batches, missed, count=2)
    assert found.worst(2) == [(0, 0), (0, 2)]
    assert found.scores[0, 1] > 0


def test_layers_go_and_a_pruned_bundle_is_saved_and_speaks(
    tiny: Bundle, voice: Voice, tmp_path: Path
) -> None:
    gpt = planted([])
    config = tiny.config.model_copy(update={"gpt": gpt.config})
    small = pruning.pruned(replace(tiny, gpt=gpt, config=config), [(2, 0)], [0])
    assert small.gpt.config.guided_heads == ((0, 2),)
    small.save(tmp_path / "small", half=False)
    again = Bundle.load(tmp_path / "small")
    assert torch.equal(again.gpt(*given(gpt)), small.gpt(*given(gpt)))
    made = tts("Hello.", voice, model=again, seed=1, max_tokens=20)
    assert len(made.audio)


def test_what_the_watch_needs_cannot_go(tiny: Bundle) -> None:
    gpt = planted([])
    with pytest.raises(ValueError, match="guides the watch"):
        pruning.prune(gpt, [(1, 2)])
    with pytest.raises(ValueError, match="take the layer out"):
        pruning.prune(gpt, [(0, h) for h in range(4)])


def test_heads_that_say_nothing_are_found_and_go_first() -> None:
    dead = [(0, 2), (1, 0), (2, 3)]
    gpt = planted(dead)
    batches = [given(gpt, seed) for seed in range(3)]
    spared = gpt.config.guided_heads
    clean = {id(batch): gpt(*batch).detach() for batch in batches}

    def moved(model: GPT, batch: list[Tensor]) -> Tensor:
        return (model(*batch) - clean[id(batch)]).square().mean()

    for found in (
        ranking.by_effect(gpt, batches, moved),
        ranking.by_gradient(gpt, batches, loss),
        ranking.by_magnitude(gpt),
    ):
        assert sorted(found.worst(3, spared)) == dead, found.by
    assert sorted(ranking.by_chance(gpt, 0).worst(3, spared)) != dead
    assert len(ranking.by_effect(gpt, batches, moved).worst(9)) == 9
    with pytest.raises(ValueError, match="only 9 heads can go"):
        ranking.by_chance(gpt, 0).worst(10)


def test_a_ranking_is_kept_and_a_table_of_effects_read(tmp_path: Path) -> None:
    kept = ranking.Ranking("effect", {(0, 0): 0.5, (0, 1): 0.25})
    kept.save(tmp_path / "r.json")
    assert ranking.Ranking.load(tmp_path / "r.json") == kept
    told = replace(kept, means={(0, 0): [0.5, -1.0]})
    told.save(tmp_path / "r.json")
    assert ranking.Ranking.load(tmp_path / "r.json") == told
    (tmp_path / "t.json").write_text('[{"layer": 1, "head": 0, "effect": 0.1, "kind": "mixed"}]')
    assert ranking.Ranking.load(tmp_path / "t.json").scores == {(1, 0): 0.1}
    (tmp_path / "bad.json").write_text('[{"layer": 1, "head": 0, "effect": null}]')
    with pytest.raises(ValueError, match="no score"):
        ranking.Ranking.load(tmp_path / "bad.json")


# --- the student ----------------------------------------------------------------------------------


@pytest.fixture
def small() -> Student:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Student(FEW.model).eval()


def test_step_by_step_is_the_whole_pass(small: Student) -> None:
    ids, tokens = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[1, 2, 3, 4, 5]])
    whole = small(ids, torch.tensor([4]), tokens)
    logits, cache = small.prefill(ids, torch.tensor([4]), tokens[:, :2])
    assert torch.allclose(logits, whole[:, 2], atol=1e-5)
    for step in range(2, 5):
        logits = small.step(tokens[:, step], cache)
        assert torch.allclose(logits, whole[:, step + 1], atol=1e-5)
    assert (cache.text, cache.length, cache.steps) == (4, 10, 3)


def test_padding_changes_nothing(small: Student) -> None:
    ids, tokens = torch.tensor([[5, 6, 7, 8, 0, 0]]), torch.tensor([[1, 2, 3]])
    padded = small(ids, torch.tensor([4]), tokens)
    assert torch.allclose(padded, small(ids[:, :4], torch.tensor([4]), tokens), atol=1e-5)


def test_a_student_stands_in_for_the_gpt_and_is_watched(
    tiny: Bundle, small: Student, voice: Voice, tmp_path: Path
) -> None:
    bundle = student.with_student(tiny, small)
    bundle.save(tmp_path / "small", half=False)
    again = Bundle.load(tmp_path / "small")
    assert again.name == "tiny-small"
    options: dict[str, Any] = {"seed": 3, "max_tokens": 40}
    made = tts("Hello there.", voice, model=again, **options)
    assert np.array_equal(made.tokens, tts("Hello there.", voice, model=bundle, **options).tokens)
    path = made.alignment
    assert (np.diff(path) >= 0).all()  # the watch holds the pointer
    assert len(set(path.tolist())) > 1


def test_teaching_moves_the_student_towards_the_teacher_and_resumes(
    tiny: Bundle, voice: Voice, tmp_path: Path
) -> None:
    rows = [Row([5, 6, 7, 8], [1, 2, 3, 4, 5, 6], [0, 0, 1, 2, 2, 3]), Row([9, 5], [7, 8], [0, 1])]
    draw = student.drawn_from(rows)
    bundle = copy.deepcopy(tiny)

    def gap(made: Bundle) -> float:
        batch = student.batch(draw, 4, 1024, np.random.default_rng(5))
        dice = torch.Generator().manual_seed(0)
        model: Any = made.gpt
        return float(student.student_losses(model.eval(), bundle.gpt, batch, dice)["soft"])

    long = FEW.model_copy(update={"steps": 12})
    whole = student.teach(bundle, draw, draw, tmp_path / "whole", long)
    student.teach(bundle, draw, draw, tmp_path / "part", FEW)
    again = student.teach(bundle, draw, draw, tmp_path / "part", long)
    untaught = student.with_student(bundle, Student(whole.gpt.config))  # type: ignore[arg-type]
    assert gap(whole) < gap(untaught) - 0.01
    assert gap(again) < gap(untaught) - 0.01
    assert all(p.requires_grad for p in bundle.gpt.parameters())
    assert student.token_nll(whole.gpt, draw, 1, 2) < student.token_nll(untaught.gpt, draw, 1, 2)


def test_through_the_window_fewer_phonemes_are_in_sight(tiny: Bundle, small: Student) -> None:
    draw = student.drawn_from([Row(list(range(5, 21)), [1, 2, 3, 4, 5, 6], [0, 3, 6, 9, 12, 15])])
    pruned = pruning.pruned(replace(tiny, gpt=planted([])), [(1, 0), (0, 1)]).gpt
    for model in (tiny.gpt, small, pruned):
        free, watched = (
            student.token_nll(model, draw, 1, 2, window=window) for window in (False, True)
        )
        assert free != watched
    given = student.batch(draw, 4, 1024, np.random.default_rng(0))

    def guide(opened: float) -> float:
        dice = torch.Generator().manual_seed(0)
        return float(student.student_losses(small, None, given, dice, 0.1, opened)["guide"])

    assert guide(0.0) < guide(1.0)  # what is shut draws no attention


def test_the_teacher_speaks_its_own_corpus(tiny: Bundle, voice: Voice) -> None:
    (row,) = student.spoken_rows(tiny, ["Hi."], voice)
    assert len(row.tokens) == len(row.pointer)
    assert max(row.pointer) < len(row.ids)
