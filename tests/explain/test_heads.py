"""Planted attention gets the right class; ablation finds the head that matters; heads are kept."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_alignment import staircase
from tests_explain import loud, nobody, opened, with_attention

from voxray.bundle import Bundle
from voxray.explain import heads, replay, trace
from voxray.sites import attach


def test_planted_classes_are_told_apart(tiny: Bundle) -> None:
    made = opened(tiny)
    tokens, phonemes = made.passages[0].attention.shape[2:]
    planted = with_attention(
        made,
        {
            (0, 0): staircase(tokens, phonemes, 0.8),
            (0, 1): np.full((tokens, phonemes), 0.9 / phonemes),
            (1, 0): np.full((tokens, phonemes), 0.1 / phonemes),
            (1, 1): np.eye(phonemes)[np.full(tokens, 2)] * 0.9,  # stares at one phoneme
        },
    )
    table = heads.describe(planted)
    kinds = [table.kind(*at) for at in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert kinds == ["alignment", "global", "speech", "mixed"]
    assert heads.find_alignment_heads([planted]) == [(0, 0)]
    assert table.of_kind("alignment") == [(0, 0)]
    assert table.claim == "correlational"


def test_ablation_is_what_it_says(tiny: Bundle) -> None:
    """The batched sweep equals one run with the head's mean in its place."""
    made = opened(tiny)
    table = heads.describe(made, ablate=True)
    assert table.effect is not None and table.effect.shape == (2, 2)
    part = made.passages[0].passage

    def mean_of_head_one(z: torch.Tensor) -> torch.Tensor:
        z = z.clone()
        z[:, : part.text, 1] = z[:, : part.text, 1].mean(1, keepdim=True)
        z[:, part.text :, 1] = z[:, part.text :, 1].mean(1, keepdim=True)
        return z

    with torch.inference_mode():
        clean = replay.token_log_probs(replay.read(made.spoken, part), part).mean()
        with attach(tiny.gpt, {"blocks.1.attn.z": mean_of_head_one}):
            cut = replay.token_log_probs(replay.read(made.spoken, part), part).mean()
    assert table.effect[1, 1] == pytest.approx(float(clean - cut), abs=1e-4)
    assert table.claim.startswith("mean ablation")


def test_a_head_without_output_costs_nothing(tiny: Bundle) -> None:
    deaf = copy.deepcopy(tiny)
    depth = 16
    with torch.no_grad():
        deaf.gpt.blocks[0].attn.out.weight[:, :depth] = 0  # head 0 of layer 0 writes nothing
    made = trace("Hello.", nobody(), model=deaf, seed=1, max_tokens=30)
    effect = heads.effects(made)
    assert abs(effect[0, 0]) < 1e-6
    assert np.abs(effect).max() > 1e-5


def test_rows_are_plain(tiny: Bundle) -> None:
    rows = heads.describe(opened(tiny)).rows()
    assert len(rows) == 4 and rows[3]["layer"] == 1 and rows[0]["effect"] is None
    json.dumps(rows)


def test_heads_are_kept_with_the_model(tmp_path: Path, tiny: Bundle) -> None:
    assert heads.load_heads(tmp_path) == []
    heads.save_heads([(2, 1), (3, 0)], tmp_path)
    assert heads.load_heads(tmp_path) == [(2, 1), (3, 0)]
    (tmp_path / heads.FILE).write_text("{}")
    with pytest.raises(ValueError, match="no list"):
        heads.load_heads(tmp_path)
    with pytest.raises(ValueError, match="no traces"):
        heads.find_alignment_heads([])


def test_a_guess_by_gradients_ranks_heads_as_ablation_does(tiny: Bundle) -> None:
    """To first order: where heads are moved a little only, the guess is the effect."""
    made = opened(loud(tiny))
    guess, truth = heads.guesses(made), heads.effects(made)
    assert guess.shape == truth.shape == (2, 2)
    small = opened(tiny)  # weights at the start: every head does little
    assert np.allclose(heads.guesses(small), heads.effects(small), atol=0.02)
