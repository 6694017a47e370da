"""Rows about concepts: do directions for anger, tenderness and calm act, where, and does one head do it?"""

from __future__ import annotations

from collections.abc import Iterator

import concepts
import numpy as np
from concepts import CONCEPTS, PLACES, Learnt
from explain_plan import Plan, Row, Unmeasured
from explain_rows_steer import dose_figures

from voxray import steer
from voxray.explain.statistics import bootstrap
from voxray.explain.tracing import Trace
from voxray.pipeline import Pipeline

AMOUNTS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
SPEAKERS = 16
LEAST_RANDOM = 0.05  # SD: random effects below this count as this much
RANDOM = 0.2  # of the effect: what a random direction may do
HOLDS = (
    "dose correlation >= 0.95, monotone >= 0.8, random <= 0.2 of the effect, signs flip >= 0.9, "
    "probe >= 0.9"
)


class Ear:
    """Measures what is said with an edit against what is said without, in a speaker's own spreads."""

    def __init__(self, plan: Plan, scale: np.ndarray) -> None:
        self.pipeline = Pipeline(plan.models, plan.models.text_pipeline())
        self.scale = scale

    def measured(self, opened: Trace, edit: steer.Edit | None) -> np.ndarray:
        """Qualities [Q] in standard deviations."""
        speech = opened.spoken
        made = speech.synthesis
        if edit is not None:
            options = speech.options.model_copy(update={"edits": edit, "seed": 7})
            made = self.pipeline.synthesise(made.text, speech.voice, options)
        count = len(made.phonemes)
        return concepts.qualities(made.audio, made.sample_rate, count) / self.scale

    def effect(self, name: str, opened: Trace, edit: steer.Edit) -> float:
        """Change of a concept's measure; nan where nothing is voiced."""
        change = self.measured(opened, edit) - self.measured(opened, None)
        return float(concepts.score(name, change))


def row_concept(plan: Plan) -> Iterator[Row]:
    """Each concept: where it acts most beside a random direction (on other texts), then dose, sign, control."""
    clips = concepts.listen(plan.models, plan.shared, 4 if plan.quick else SPEAKERS)
    ear = Ear(plan, concepts.spread(clips))
    choosing = plan.other_traces
    for learnt in concepts.learn(plan.models, clips, list(CONCEPTS)):
        tried = {place: _swing(ear, learnt, place, choosing) for place in PLACES}
        place = max(tried, key=lambda p: tried[p][0] / max(tried[p][1], LEAST_RANDOM))
        yield from _tested(plan, ear, learnt, place, tried)


def _edit(learnt: Learnt, site: str, amount: float, seed: int | None = None) -> steer.Edit:
    vector = learnt.directions[site]
    if seed is not None:
        dice = np.random.default_rng(seed).standard_normal(len(vector))
        vector = dice * np.linalg.norm(vector) / np.linalg.norm(dice)
    return steer.Concept(
        name=learnt.name, site=site, direction=tuple(vector.tolist()), amount=amount
    )


def _swing(ear: Ear, learnt: Learnt, place: str, choosing: list[Trace]) -> tuple[float, float]:
    """Half the difference between the most and the least of a concept, and the size of a random effect."""
    site, name = learnt.best(place), learnt.name
    gaps, random = [], []
    for number, opened in enumerate(choosing):
        most, least = (
            ear.effect(name, opened, _edit(learnt, site, at)) for at in (AMOUNTS[-1], AMOUNTS[0])
        )
        gaps.append(most - least)
        random.append(ear.effect(name, opened, _edit(learnt, site, AMOUNTS[-1], seed=100 + number)))
    return float(np.nanmean(gaps)) / 2, float(np.nanmean(np.abs(random)))


def _tested(
    plan: Plan, ear: Ear, learnt: Learnt, place: str, tried: dict[str, tuple[float, float]]
) -> Iterator[Row]:
    name, site = learnt.name, learnt.best(place)
    on, random = [], []
    for number, opened in enumerate(plan.short_traces):
        row = [
            ear.effect(name, opened, _edit(learnt, site, amount)) if amount else 0.0
            for amount in AMOUNTS
        ]
        other = ear.effect(name, opened, _edit(learnt, site, AMOUNTS[-1], seed=number))
        if np.isfinite([*row, other]).all():
            on.append(row)
            random.append(other)
    if len(on) < 3:
        raise Unmeasured("fewer than 3 utterances stay voiced at every dose")
    table = np.array(on)
    pooled, climbs = dose_figures(AMOUNTS, table)
    top = bootstrap(table[:, -1])
    flips = bootstrap((table[:, -1] * table[:, 0] < 0).astype(float))
    aside = bootstrap(np.abs(random))
    share = aside.value / abs(top.value) if top.value else float("inf")
    probe = learnt.scores[site]
    rows = [
        Row(f"{name}: rank correlation of dose and effect", pooled, ">= 0.95",
            pooled.value >= 0.95),
        Row(f"{name}: share of utterances monotone in the dose", climbs, ">= 0.8",
            climbs.value >= 0.8),
        Row(f"{name}: random direction, share of the effect", share, f"<= {RANDOM}",
            share <= RANDOM and top.low > 0, "", f"mean size {aside}, signed {np.mean(random):+.2f}"),
        Row(f"{name}: signs flip", flips, ">= 0.9", flips.value >= 0.9),
        Row(f"{name}: AUROC on clips of speakers left out", probe, ">= 0.9", probe >= 0.9),
    ]  # fmt: skip
    held = all(row.met for row in rows) and top.low > 0
    missed = [row.name.split(": ")[1] for row in rows if not row.met]
    places = ", ".join(
        f"{p} ({learnt.best(p)}, AUROC {learnt.scores[learnt.best(p)]:.2f}) {swing:+.2f}, random {size:.2f}"
        for p, (swing, size) in tried.items()
    )
    note = f"at {site}, proxy by prosody; by place on other texts: {places}"
    note += f"; missed: {', '.join(missed)}" if missed else ""
    data = {"name": name, "site": site, "place": place,
            "direction": [round(float(x), 5) for x in learnt.directions[site]]}  # fmt: skip
    yield Row(f"{name}: effect of the largest dose; holds", top, HOLDS, held, "SD", note, data)
    yield from rows


def row_weighted_head(plan: Plan) -> Iterator[Row]:
    """One head of the GPT turned up to twice its output: does it add the measures of anger?"""
    clips = concepts.listen(plan.models, plan.shared, 4 if plan.quick else SPEAKERS)
    ear = Ear(plan, concepts.spread(clips))
    config = plan.models.gpt.config
    edits = {
        f"{layer}.{head}": steer.HeadGain(site=f"gpt.blocks.{layer}.attn.z", head=head, gain=2.0)
        for layer in range(config.n_layer)
        for head in range(config.n_head)
    }
    few = plan.other_traces
    seen = {
        n: float(np.nanmean([ear.effect("anger", o, e) for o in few])) for n, e in edits.items()
    }
    best = max(seen, key=lambda n: seen[n])
    effects = np.array([ear.effect("anger", o, edits[best]) for o in plan.short_traces])
    figure = bootstrap(effects[np.isfinite(effects)])
    note = f"head {best}, chosen on {len(few)} other texts of {len(edits)} heads; there {seen[best]:+.2f}, median head {np.median(list(seen.values())):+.2f}; high, loud and fast, a proxy"
    yield Row("a head at twice its output: effect on arousal", figure, "", None, "SD", note)
