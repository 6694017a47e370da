"""Rows about seeing: sites, alignment, heads, attribution, the cost of a page."""

from __future__ import annotations

import tempfile
import time
import timeit
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from explain_plan import Plan, Row, Unmeasured

from voxray import tts
from voxray.explain import alignment, attribution, faithfulness, heads, replay
from voxray.explain.report import report_of
from voxray.explain.statistics import auroc, bootstrap, mean, median, ratio
from voxray.joining import monotone_path
from voxray.models.generator import Generator
from voxray.sites import Site, record, sites

STEPS = 16  # of integrated gradients; their error is a row of its own
SOUND_STEPS = {"pitch": 32, "energy": 32, "speaker": 64}  # the way to the likeness is the roughest


def p90(values: np.ndarray) -> float:
    """The value that nine in ten do not exceed."""
    return float(np.quantile(values, 0.9))


def p95(values: np.ndarray) -> float:
    """The value that nineteen in twenty do not exceed."""
    return float(np.quantile(values, 0.95))


def row_idle_cost(plan: Plan) -> Iterator[Row]:
    """Nanoseconds of an idle call times the sites of a token, against a token's time."""
    site, x = Site(), torch.zeros(1)
    calls = 200_000
    with_site = min(timeit.repeat(lambda: site(x), number=calls, repeat=15)) / calls
    bare = min(timeit.repeat(lambda: x, number=calls, repeat=15)) / calls
    made = plan.traces[0].synthesis
    per_token = made.timings["tokens"] / len(made.tokens)
    count = len(sites(plan.models.gpt))
    share = count * (with_site - bare) / per_token
    note = f"{1e9 * (with_site - bare):.0f} ns a call, {count} GPT sites, {1e3 * per_token:.1f} ms a token"
    yield Row(
        "idle cost of the sites, share of a token's time",
        100 * share,
        "<= 1 %",
        share <= 0.01,
        "%",
        note,
    )


def row_recording(plan: Plan) -> Iterator[Row]:
    """Recording everything but patterns must not change a bit; patterns, no more than rounding."""
    first = plan.texts[0]
    plain = tts(first, seed=7, model=plan.models, takes=1)
    parts = {"gpt": plan.models.gpt, "generator": plan.models.generator}
    quiet = [name for name in sites(parts) if not name.endswith((".pattern", ".bias"))]
    with record(parts, quiet):
        watched = tts(first, seed=7, model=plan.models, takes=1)
    same = bool(
        np.array_equal(plain.latents, watched.latents)
        and np.array_equal(plain.tokens, watched.tokens)
    )
    yield Row(
        "recording q, k, v, z, mlp, resid and the generator: bit-identical", float(same), "1", same
    )
    with record(plan.models.gpt, "blocks.*.attn.pattern"):
        explicit = tts(first, seed=7, model=plan.models, takes=1)
    tokens = bool(np.array_equal(plain.tokens, explicit.tokens))
    part = plan.traces[0].passages[0]
    with torch.inference_mode():
        fused = replay.read(plan.traces[0].spoken, part.passage)[0].numpy()
    apart = float(np.abs(fused - part.logits).max())
    good = tokens and apart <= 1e-4
    yield Row(
        "explicit attention: largest difference of a logit",
        apart,
        "<= 1e-4, same tokens",
        good,
        "",
        f"same tokens: {tokens}",
    )


def row_alignment(plan: Plan) -> Iterator[Row]:
    """Word starts of unseen teacher speech, from the model's alignment heads, against exact times."""
    ours, flat, loops, drops, whole = [], [], [], [], []
    dice = np.random.default_rng(0)
    for timed in plan.timed:
        heard = alignment.hear(plan.models, timed.clip.text, timed.wave, timed.rate)
        found = alignment.align(heard)
        ours.extend(alignment.boundary_errors(found.words, timed.words))
        flat.extend(alignment.boundary_errors(alignment.uniform(heard).words, timed.words))
        part, chosen = heard.passages[0], found.heads
        whole.append(_evenness(alignment.averaged(part, chosen)))
        for kept, kind in ((loops, "loop"), (drops, "drop")):
            kept.append(_evenness(_corrupted(plan, heard, kind, dice, chosen)))
    error = bootstrap(1e3 * np.asarray(ours), median, draws=500)
    yield Row(
        "word starts, median error",
        error,
        "<= 40 ms",
        error.value <= 40,
        "ms",
        f"{len(plan.timed)} clips",
    )
    tail = bootstrap(1e3 * np.asarray(ours), p90, draws=500)
    yield Row("word starts, 90th percentile", tail, "<= 120 ms", tail.value <= 120, "ms")
    times = float(np.median(flat) / max(np.median(ours), 1e-9))
    yield Row("straight diagonal's error over ours (medians)", times, ">= 3", times >= 3)
    bad = np.asarray([*loops, *drops])
    score = auroc(np.concatenate([bad, whole]), np.r_[np.ones(len(bad)), np.zeros(len(whole))])
    yield Row("loops and skips found by the path, AUROC", score, ">= 0.95", score >= 0.95)


def _corrupted(plan: Plan, heard, kind: str, dice: np.random.Generator, chosen) -> np.ndarray:
    """Attention when a stretch of tokens is said three times, or left out."""
    from dataclasses import replace

    part = heard.passages[0].passage
    tokens = list(part.tokens)
    long = max(5, len(tokens) // 4)
    begin = int(dice.integers(0, max(1, len(tokens) - long)))
    piece = tokens[begin : begin + long]
    made = tokens[:begin] + (3 * piece if kind == "loop" else []) + tokens[begin + long :]
    changed = replace(part, tokens=tuple(made), path=tuple(0 for _ in made))
    speech = replace(heard.spoken, passages=(changed,))
    seen: dict[int, np.ndarray] = {}
    rows = speech.rows(changed)

    def note(layer: int):
        def edit(pattern):
            seen[layer] = pattern[0, :, rows, : changed.text].float().numpy()
            return pattern

        return edit

    edits = {f"blocks.{layer}.attn.pattern": note(layer) for layer, _ in chosen}
    with torch.inference_mode():
        replay.read(speech, changed, edits)
    mean_of = np.mean([seen[layer][head] for layer, head in chosen], axis=0)
    return mean_of / np.maximum(mean_of.sum(1, keepdims=True), 1e-9)


def _evenness(weights: np.ndarray) -> float:
    """How unlike steady progress the best path is: mass off it, and its longest stay and jump."""
    path = monotone_path(weights)
    off = 1.0 - float(
        (weights * (np.abs(np.arange(weights.shape[1])[None] - path[:, None]) <= 1)).sum(1).mean()
    )
    jump = float(np.diff(path, prepend=0).max(initial=0)) / weights.shape[1]
    _, stays = np.unique(path, return_counts=True)
    return off + jump + float(stays.max()) / len(path)


def row_heads(plan: Plan) -> Iterator[Row]:
    """Classes found, and what the alignment heads are worth."""
    tables = [heads.describe(made, ablate=True) for made in plan.traces]
    effect = np.mean([table.effect for table in tables], axis=0)
    found = heads.find_alignment_heads(plan.traces)
    inside = [float(np.mean([table.effect[at] for at in found])) for table in tables]
    others = [at for at in np.ndindex(*effect.shape) if at not in found]
    outside = [float(np.mean([table.effect[at] for at in others])) for table in tables]
    kinds = {
        kind: len(tables[0].of_kind(kind)) for kind in ("alignment", "global", "speech", "mixed")
    }
    yield Row(
        "found alignment heads",
        float(len(found)),
        note=f"{found}; guided {plan.models.gpt.config.guided_heads}; {kinds}",
    )
    yield Row(
        "ablating an alignment head, over any other head",
        ratio(inside, outside, draws=500),
        note="nats a token",
    )
    yield Row("ablating an alignment head", bootstrap(inside), unit="nats a token")


def row_completeness(plan: Plan) -> Iterator[Row]:
    """Integrated gradients: what is missing between the scores' sum and the difference."""
    errors, skipped = [], 0
    for made in plan.traces:
        part = made.passages[0].passage
        for baseline in attribution.BASELINES:
            scores = attribution.text_to_tokens(made.spoken, part, baseline=baseline, steps=STEPS)
            skipped += scores.skipped
            if not scores.skipped:
                errors.append(100 * scores.completeness_error)
    figure = bootstrap(errors, median)
    yield Row(
        f"IG completeness, phonemes -> log-probability, {STEPS} steps",
        figure,
        "median <= 1 %",
        figure.value <= 1,
        "%",
        f"two baselines, {skipped} skipped",
    )
    tail = bootstrap(errors, p95)
    yield Row("IG completeness, 95th percentile", tail, "<= 5 %", tail.value <= 5, "%")


def row_sound_completeness(plan: Plan) -> Iterator[Row]:
    """The same for the sound of short texts; energy and likeness with the run's F0 held."""
    if not isinstance(plan.models.generator, Generator):
        raise Unmeasured("this model makes its sound by flow matching")
    some = plan.short_traces
    for name, steps in SOUND_STEPS.items():
        errors, gaps = [], []
        for made in some:
            part = made.passages[0].passage
            scores = attribution.generator_to_sound(made.spoken, part, name, steps=steps)
            if not scores.skipped:
                errors.append(100 * scores.completeness_error)
            if name != "speaker":
                gaps.append(attribution.text_to_sound(made.spoken, part, name, steps=1).gap or 0.0)
        figure = bootstrap(errors, median) if len(errors) >= 3 else None
        note = (
            f"gap of soft decoding, mean |.| {np.mean(np.abs(gaps)):.2f} {attribution.UNITS[name]}"
            if gaps
            else ""
        )
        met = None if figure is None else figure.value <= 1
        yield Row(
            f"IG completeness, codes and speaker -> {name}, {steps} steps",
            figure,
            "median <= 1 %",
            met,
            "%",
            note,
        )


def row_deletion(plan: Plan) -> Iterator[Row]:
    """Top fifth of the phonemes replaced, against random ones and gradient x input; occlusion."""
    top, random, gradient, agree, noise = [], [], [], [], []
    for number, made in enumerate(plan.traces):
        part = made.passages[0].passage
        scores = attribution.text_to_tokens(made.spoken, part, steps=STEPS).scores
        cut = faithfulness.deletion(made.spoken, part, scores, seed=number)
        top.append(cut.top)
        random.append(cut.random)
        gradient.append(cut.gradient)
        agree.append(faithfulness.occlusion_agreement(made.spoken, part, scores))
        if number < (3 if plan.quick else 10):
            noise.append(abs(faithfulness.randomised_agreement(made.spoken, part, scores, steps=8)))
    figure = ratio(top, random, draws=500)
    yield Row("deletion of the top fifth over random", figure, ">= 2", figure.value >= 2)
    figure = ratio(top, gradient, draws=500)
    yield Row("deletion by IG over gradient x input", figure, ">= 1", figure.value >= 1)
    figure = bootstrap(agree, mean)
    yield Row("Spearman of IG and single-phoneme occlusion", figure, ">= 0.7", figure.value >= 0.7)
    figure = bootstrap(noise, mean)
    yield Row(
        "Spearman of IG with shuffled weights, absolute", figure, "<= 0.2", figure.value <= 0.2
    )


def row_sensitivity(plan: Plan) -> Iterator[Row]:
    """How much the scores move when the read rows move a little."""
    worst = []
    for made in plan.short_traces:
        part = made.passages[0].passage
        scores = attribution.text_to_tokens(made.spoken, part, steps=STEPS).scores
        worst.append(faithfulness.sensitivity(made.spoken, part, scores, draws=2, steps=STEPS))
    figure = bootstrap(worst, mean)
    yield Row(
        "sensitivity of IG to 2 % noise, largest relative change",
        figure,
        "<= 0.2",
        figure.value <= 0.2,
    )


def row_cost(plan: Plan) -> Iterator[Row]:
    """Seconds of the explanations, against the synthesis."""
    made = plan.traces[1]
    began = time.perf_counter()
    tts(made.synthesis.text, seed=7, model=plan.models, takes=1)
    alone = time.perf_counter() - began
    from voxray.explain.tracing import trace_of

    began = time.perf_counter()
    opened = trace_of(made.spoken)
    alignment.align(opened)
    opening = time.perf_counter() - began
    share = (alone + opening) / alone
    yield Row("synthesis with trace and alignment, over synthesis", share, "<= 1.3", share <= 1.3)
    part = made.passages[0].passage
    began = time.perf_counter()
    attribution.text_to_tokens(made.spoken, part, steps=64)
    seconds = time.perf_counter() - began
    yield Row(
        "IG of one passage, 64 steps",
        seconds,
        "<= 10 s",
        seconds <= 10,
        "s",
        f"{len(part.tokens)} tokens",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.html"
        began = time.perf_counter()
        report_of(made).save(path)
        seconds = time.perf_counter() - began
        size = path.stat().st_size / 1e6
    yield Row("the page", size, "<= 3 MB", size <= 3, "MB", f"{seconds:.1f} s to make")
