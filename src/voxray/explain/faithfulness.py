"""Is an attribution true? Deletion and occlusion at the level of phonemes, against chance.

In: a passage and a score for each phoneme. Out: `Deletion`: how far the log-probability of what was
spoken falls when the top fifth of the phonemes is replaced (by a pause), against as many random ones
and against gradient x input; and single-phoneme `occlusion`, the slow truth for which integrated
gradients are the quick guess. Whole phonemes are replaced, never frames: attributions of speech that are
not tested so are unreliable (Shen et al. 2025, arXiv 2505.16406).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .attribution import (
    STEPS,
    log_prob_function,
    text_baseline,
    text_rows,
    text_to_tokens,
)
from .replay import Passage, Spoken
from .statistics import ranks, spearman

TOP = 0.2  # share of phonemes deleted
RANDOM_DRAWS = 20
BATCH = 16

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Deletion:
    """Nats lost when phonemes are deleted; `curve` deletes more and more of the top ones."""

    top: float
    random: float
    gradient: float  # the top fifth by gradient x input
    random_draws: tuple[float, ...]
    curve: tuple[float, ...]  # after 0, 10, ... 100 % of the phonemes
    count: int

    @property
    def ratio(self) -> float:
        """Drop by the attribution's choice over the mean random drop."""
        return self.top / self.random if self.random > 0 else float("nan")


@torch.inference_mode()
def dropped(
    speech: Spoken, passage: Passage, sets: Sequence[Sequence[int]], baseline: str = "pause"
) -> Floats:
    """Log-probability lost [n] when the phonemes of each set are replaced."""
    rows = text_rows(speech, passage)
    base = text_baseline(speech, passage, rows, baseline)
    function = log_prob_function(speech, passage)
    runs = [rows]
    for chosen in sets:
        changed = rows.clone()
        changed[list(chosen)] = base[list(chosen)]
        runs.append(changed)
    values = torch.cat([function(part) for part in torch.stack(runs).split(BATCH)])
    return (values[0] - values[1:]).numpy()


def occlusion(speech: Spoken, passage: Passage, baseline: str = "pause") -> Floats:
    """Log-probability lost when each phoneme alone is replaced [P]."""
    return dropped(speech, passage, [[place] for place in range(len(passage.ids))], baseline)


def gradient_times_input(speech: Spoken, passage: Passage, baseline: str = "pause") -> Floats:
    """The plain gradient times the way from the baseline [P]: what integration must beat."""
    rows = text_rows(speech, passage)
    base = text_baseline(speech, passage, rows, baseline)
    point = rows[None].detach().clone().requires_grad_()
    with torch.enable_grad():
        value = log_prob_function(speech, passage)(point).sum()
        (gradient,) = torch.autograd.grad(value, point)
    return (gradient[0] * (rows - base)).sum(1).detach().numpy()


def deletion(
    speech: Spoken,
    passage: Passage,
    scores: Floats,
    *,
    share: float = TOP,
    draws: int = RANDOM_DRAWS,
    seed: int = 0,
    baseline: str = "pause",
) -> Deletion:
    """Delete the top share of phonemes by `scores`, by gradient x input, and at random."""
    phonemes = len(passage.ids)
    if len(scores) != phonemes:
        raise ValueError(f"{len(scores)} scores for {phonemes} phonemes")
    if phonemes < 5:
        raise ValueError(f"deletion needs 5 phonemes or more; there are {phonemes}")
    count = max(1, round(share * phonemes))
    order = np.argsort(-np.asarray(scores), kind="stable")
    by_gradient = np.argsort(-gradient_times_input(speech, passage, baseline), kind="stable")
    dice = np.random.default_rng(seed)
    sets = [order[:count], by_gradient[:count]]
    sets += [dice.permutation(phonemes)[:count] for _ in range(draws)]
    sets += [order[: round(tenth * phonemes / 10)] for tenth in range(11)]
    lost = dropped(speech, passage, [chosen.tolist() for chosen in sets], baseline)
    random = lost[2 : 2 + draws]
    return Deletion(
        top=float(lost[0]),
        random=float(random.mean()),
        gradient=float(lost[1]),
        random_draws=tuple(random.tolist()),
        curve=tuple(lost[2 + draws :].tolist()),
        count=count,
    )


def shuffled(speech: Spoken, seed: int) -> Spoken:
    """The same speech with a GPT of the same weights in random order: explanations must change."""
    models = copy.copy(speech.models)
    models.gpt = copy.deepcopy(speech.models.gpt)
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in models.gpt.parameters():
            mixed = weight.flatten()[torch.randperm(weight.numel(), generator=dice)]
            weight.copy_(mixed.view_as(weight))
    return Spoken(models, speech.voice, speech.options, speech.synthesis, speech.passages)


def randomised_agreement(
    speech: Spoken, passage: Passage, scores: Floats, *, seed: int = 0, steps: int = STEPS
) -> float:
    """Rank correlation of the scores with those of a model of shuffled weights: near 0 is good."""
    other = text_to_tokens(shuffled(speech, seed), passage, steps=steps)
    return spearman(scores, other.scores)


def occlusion_agreement(speech: Spoken, passage: Passage, scores: Floats) -> float:
    """Rank correlation of the scores with single-phoneme occlusion: near 1 is good."""
    return spearman(scores, occlusion(speech, passage))


def sensitivity(
    speech: Spoken,
    passage: Passage,
    scores: Floats,
    *,
    radius: float = 0.02,
    draws: int = 3,
    seed: int = 0,
    steps: int = STEPS,
) -> float:
    """Largest relative change of the scores when the read rows move a little (Yeh et al. 2019)."""
    rows = text_rows(speech, passage)
    base = text_baseline(speech, passage, rows, "pause")
    function = log_prob_function(speech, passage)
    from .attribution import integrated_gradients

    dice = torch.Generator().manual_seed(seed)
    worst = 0.0
    for _ in range(draws):
        shift: Tensor = torch.rand(rows.shape, generator=dice) * 2 - 1
        moved = rows + radius * rows.std() * shift
        made = integrated_gradients(lambda g: function(g[0]), [moved], [base], steps=steps)
        change = made.attributions[0].sum(1).numpy() - scores
        worst = max(worst, float(np.linalg.norm(change) / max(np.linalg.norm(scores), 1e-9)))
    return worst


def top_overlap(one: Floats, other: Floats, count: int = 5) -> int:
    """How many of the top `count` are the same."""
    best = [set(np.argsort(-ranks(scores), kind="stable")[:count]) for scores in (one, other)]
    return len(best[0] & best[1])
