"""Rows about steering and why: emphasis and prosody by dose, loops, causes, mediation, paths, their cost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from explain_plan import HERE, Plan, Row, Unmeasured

from voxray import audio, steer
from voxray.explain.paths import critical_paths
from voxray.explain.statistics import bootstrap, spearman_interval
from voxray.explain.tracing import trace
from voxray.explain.why import events_of, why
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.steer.repetition import loops, responsible
from voxray.synthesis import Synthesis, WordTime
from voxray.voice import find

DOSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SEMITONES = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)


def _heard(made: Synthesis, word: WordTime) -> tuple[float, float]:
    """Pitch in semitones (nan: unvoiced) and level in dB of a word."""
    f0 = audio.f0(made.audio, made.sample_rate, 0.01)
    inside = f0[round(100 * word.start_s) : round(100 * word.end_s)]
    pitch = 12 * np.log2(inside[inside > 0]).mean() if (inside > 0).any() else float("nan")
    rate = made.sample_rate
    wave = made.audio[round(rate * word.start_s) : round(rate * word.end_s)]
    return float(pitch), float(10 * np.log10(np.mean(np.square(wave)) + 1e-8))


def _doses(
    plan: Plan, edits: list[steer.Edit], which: int
) -> tuple[list[list[float]], list[float]]:
    """Effect of each dose on the middle word, and what the last dose did to the other words."""
    pipeline = Pipeline(plan.models, plan.models.text_pipeline())
    on, off = [], []
    for opened in plan.traces:
        speech = opened.spoken
        words = speech.synthesis.words
        if len(words) < 3:
            continue
        target = len(words) // 2
        rows = []
        for edit in edits:
            options = speech.options.model_copy(
                update={"edits": edit.model_copy(update={"word": target}), "seed": 7}
            )
            made = pipeline.synthesise(speech.synthesis.text, speech.voice, options)
            rows.append([_heard(made, word)[which] for word in made.words])
        table = np.array(rows)  # [doses, words]
        plain = table[len(edits) // 2]
        effect = table[:, target] - plain[target]
        if np.isfinite(effect).all():
            on.append(effect.tolist())
            others = np.delete(table[-1] - plain, target)
            off.append(float(np.nanmean(np.abs(others))))
    if len(on) < 3:
        raise Unmeasured("fewer than 3 utterances voice their middle word at every dose")
    return on, off


def _dose_rows(name: str, doses: tuple[float, ...], on: list[list[float]], off: list[float],
               goal: float, unit: str) -> Iterator[Row]:  # fmt: skip
    pooled = spearman_interval(list(doses) * len(on), np.array(on).ravel())
    yield Row(
        f"{name}: rank correlation of dose and effect", pooled, ">= 0.95", pooled.value >= 0.95
    )
    climbs = bootstrap([float((np.diff(row) >= -1e-9).all()) for row in on])
    yield Row(
        f"{name}: share of utterances monotone in the dose", climbs, ">= 0.8", climbs.value >= 0.8
    )
    top = bootstrap([row[-1] for row in on])
    yield Row(
        f"{name}: effect on the word at the largest dose",
        top,
        f">= {goal:g}",
        top.value >= goal,
        unit,
    )
    beside = bootstrap(off)
    share = beside.value / abs(top.value) if top.value else float("inf")
    yield Row(f"{name}: other words, share of the word's effect", share, "<= 0.25", share <= 0.25)


def row_emphasis(plan: Plan) -> Iterator[Row]:
    """Attention to a word, seven doses."""
    edits: list[steer.Edit] = [steer.Emphasis(word=0, dose=dose) for dose in DOSES]
    yield from _dose_rows("emphasis, pitch", DOSES, *_doses(plan, edits, 0), 1.0, "semitones")


def row_prosody(plan: Plan) -> Iterator[Row]:
    """The pitch of a word, set directly, seven doses."""
    edits: list[steer.Edit] = [steer.Prosody(word=0, semitones=dose) for dose in SEMITONES]
    yield from _dose_rows("pitch of a word", SEMITONES, *_doses(plan, edits, 0), 1.0, "semitones")


def row_loops(plan: Plan) -> Iterator[Row]:
    """Heads found responsible for loops, on half of the hard texts, tried on the other half."""
    path = HERE / "texts" / "hard.tsv"
    lines = path.read_text("utf-8").splitlines()[1:]
    texts = [line.split("\t")[1] for line in lines][: 4 if plan.quick else 24]
    pipeline = Pipeline(plan.models, plan.models.text_pipeline())
    voice = find("nova", model=plan.models)
    options = SynthesisOptions(seed=7, watch=None).suited(plan.models.config.temperature)
    try:
        found = responsible(pipeline, texts[::2], voice, options)
        edit = found.edit(2)
    except ValueError as error:
        raise Unmeasured(str(error)) from error
    before = loops(pipeline, texts[1::2], voice, options)
    after = loops(pipeline, texts[1::2], voice, options.model_copy(update={"edits": edit}))
    if before == 0:
        raise Unmeasured("the texts held out do not loop")
    less = 1 - after / before
    yield Row("loops, less by turning down the heads found", less, ">= 0.5", less >= 0.5,
              note=f"heads {edit.heads}")  # fmt: skip


def row_why(plan: Plan) -> Iterator[Row]:
    """Top causes, their controls, mediation and cost, on the strongest pitch event of each utterance."""
    shares, controls, gaps, costs, named = [], [], [], [], []
    for opened in plan.traces:
        speech = opened.spoken
        events = [e for p in speech.passages for e in events_of(speech, p)]
        pitch = [event for event in events if event.measure.kind == "pitch"]
        if not pitch:
            continue
        answer = why(speech, word=pitch[0].word, what="pitch")
        costs.append(answer.seconds * 5.0 / speech.synthesis.seconds)
        named.append(float(answer.best is not None))
        causes = [c for c in answer.causes if c.kind != "dice"]
        shares.append(causes[0].share)
        controls.append(causes[0].control)
        if answer.mediation is not None and answer.mediation.total:
            gaps.append(answer.mediation.gap)
    if len(shares) < 3:
        raise Unmeasured("fewer than 3 utterances have a pitch event")
    top, other, cost = bootstrap(shares), bootstrap(controls), bootstrap(costs)
    yield Row(
        "why: share of the event that goes with the top cause", top, ">= 0.5", top.value >= 0.5
    )
    yield Row("why: another candidate of its kind", other, "<= 0.1", other.value <= 0.1)
    yield Row("why: share of events with a cause that may be named", bootstrap(named))
    if gaps:
        yield Row("why: mediation adds up", max(gaps), "<= 0.02", max(gaps) <= 0.02)
    yield Row("why: cost for 5 s of audio", cost, "<= 60", cost.value <= 60, "s")


def row_paths(plan: Plan) -> Iterator[Row]:
    """Removing the top tenth of the edges against as many random ones, for pitch."""
    ratios = []
    for text in plan.texts[: 2 if plan.quick else 10]:
        began = time.perf_counter()
        paths = critical_paths(trace(text, seed=7, model=plan.models).spoken, "pitch")
        point = paths.remove[1]
        ratios.append((point.ranked, float(np.mean(point.random)), time.perf_counter() - began))
    ranked, random, seconds = np.array(ratios).mean(0)
    yield Row("paths: top tenth of the edges removed, over random ones", ranked / max(random, 1e-9),
              "> 1", ranked > random, note=f"{seconds:.1f} s an utterance")  # fmt: skip
