"""Rows about steering and why: emphasis and prosody by dose, loops, causes, mediation, paths, their cost."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from explain_plan import HERE, Plan, Row, Unmeasured

from voxray import audio, steer
from voxray.evaluate import metrics, normalise
from voxray.evaluate.missing import JudgeMissing
from voxray.evaluate.named import NamedJudges
from voxray.explain.paths import critical_paths
from voxray.explain.statistics import Interval, bootstrap, median, ratio, spearman
from voxray.explain.why import Why, events_of, why
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


@dataclass(frozen=True)
class Doses:
    """Effect on the middle word [U, doses, 2] (pitch, level), the largest change of other words at the last
    dose [U, 2], and the plain and the most edited speech of each utterance.
    """

    on: np.ndarray
    off: np.ndarray
    pairs: list[tuple[Synthesis, Synthesis]]


def _doses(plan: Plan, edits: list[steer.Edit]) -> Doses:
    """Say every utterance with each edit on its middle word; entry `len // 2` changes nothing."""
    pipeline = Pipeline(plan.models, plan.models.text_pipeline())
    on, off, pairs = [], [], []
    for opened in plan.traces:
        speech = opened.spoken
        words = speech.synthesis.words
        if len(words) < 3:
            continue
        target, rows, made = len(words) // 2, [], speech.synthesis
        for edit in edits:
            options = speech.options.model_copy(
                update={"edits": edit.model_copy(update={"word": target}), "seed": 7}
            )
            made = pipeline.synthesise(speech.synthesis.text, speech.voice, options)
            rows.append([_heard(made, word) for word in made.words])
        table = np.array(rows)  # [doses, words, 2]
        change = table - table[len(edits) // 2]
        on.append(change[:, target])
        with warnings.catch_warnings():  # other words may all be unvoiced: nan, left out below
            warnings.simplefilter("ignore", RuntimeWarning)
            off.append(np.nanmean(np.abs(np.delete(change[-1], target, 0)), 0))
        pairs.append((speech.synthesis, made))
    return Doses(np.array(on), np.array(off), pairs)


def dose_figures(doses: tuple[float, ...], on: np.ndarray) -> tuple[Interval, Interval]:
    """Effects [U, doses] -> rank correlation over all, utterances drawn whole; share that is monotone."""
    dice = np.random.default_rng(0)
    drawn = [
        spearman(list(doses) * len(on), on[dice.integers(0, len(on), len(on))].ravel())
        for _ in range(1000)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    pooled = spearman(list(doses) * len(on), on.ravel())
    climbs = bootstrap((np.diff(on, axis=1) >= -1e-9).all(1).astype(float))
    return Interval(pooled, float(low), float(high), len(on)), climbs


def _dose_rows(name: str, doses: tuple[float, ...], found: Doses, which: int,
               goal: float, unit: str) -> Iterator[Row]:  # fmt: skip
    kept = np.isfinite(found.on[..., which]).all(1) & np.isfinite(found.off[:, which])
    if kept.sum() < 3:
        raise Unmeasured("fewer than 3 utterances voice their middle word at every dose")
    on, off = found.on[kept, :, which], found.off[kept, which]
    pooled, climbs = dose_figures(doses, on)
    yield Row(
        f"{name}: rank correlation of dose and effect", pooled, ">= 0.95", pooled.value >= 0.95
    )
    yield Row(
        f"{name}: share of utterances monotone in the dose", climbs, ">= 0.8", climbs.value >= 0.8
    )
    top = bootstrap(on[:, -1])
    reached = top.value >= goal
    yield Row(f"{name}: effect on the word at the largest dose", top, f">= {goal:g}", reached, unit)
    share = ratio(off, np.abs(on[:, -1]))
    yield Row(
        f"{name}: other words, share of the word's effect", share, "<= 0.25", share.value <= 0.25
    )


def _kept(plan: Plan, name: str, pairs: list[tuple[Synthesis, Synthesis]]) -> Iterator[Row]:
    """Are the words and the speaker still there? By a recogniser and a speaker judge."""
    try:
        judges = NamedJudges(threads=1)
        judge, recognise = judges.speakers[0], judges.recogniser
    except (JudgeMissing, FileNotFoundError, ImportError) as error:
        yield Row(f"{name}: content and speaker kept", None, "CER +<= 1 point, cosine >= 0.95",
                  None, note=f"no judges here: {error}")  # fmt: skip
        return
    errors, near = [], []
    for plain, edited in pairs:
        waves = [audio.resample(m.audio, m.sample_rate, 16_000) for m in (plain, edited)]
        language = plain.phonemes.words[0].language
        wanted = normalise.readings(plain.text, language)
        rates = [
            metrics.best_alignment(wanted, normalise.readings(said, language))
            for said in recognise(waves, language)
        ]
        before, after = (100 * found.errors / max(1, len(found.target)) for found in rates)
        errors.append(after - before)
        near.append(metrics.cosine(judge(waves[0]), judge(waves[1])))
    more, alike = bootstrap(errors), bootstrap(near)
    yield Row(f"{name}: more word (character) errors at the largest dose", more, "<= 1",
              more.value <= 1, "points")  # fmt: skip
    yield Row(f"{name}: speaker as without it, cosine", alike, ">= 0.95", alike.value >= 0.95,
              note=f"judge {judge.name}")  # fmt: skip


def row_emphasis(plan: Plan) -> Iterator[Row]:
    """Attention to a word, seven doses; pitch or level must answer."""
    edits: list[steer.Edit] = [steer.Emphasis(word=0, dose=dose) for dose in DOSES]
    found = _doses(plan, edits)
    yield from _dose_rows("emphasis, pitch", DOSES, found, 0, 1.0, "semitones")
    yield from _dose_rows("emphasis, level", DOSES, found, 1, 2.0, "dB")
    yield from _kept(plan, "emphasis", found.pairs)


def row_prosody(plan: Plan) -> Iterator[Row]:
    """The pitch and the level of a word, set directly, seven doses; the tokens stay, so the words do."""
    edits: list[steer.Edit] = [
        steer.Prosody(word=0, semitones=dose, decibels=dose) for dose in SEMITONES
    ]
    found = _doses(plan, edits)
    yield from _dose_rows("pitch of a word", SEMITONES, found, 0, 1.0, "semitones")
    yield from _dose_rows("level of a word", SEMITONES, found, 1, 2.0, "dB")


def row_loops(plan: Plan) -> Iterator[Row]:
    """Heads found responsible for loops, on half of the hard texts that loop, tried on the other half."""
    path = HERE / "texts" / "hard.tsv"
    lines = path.read_text("utf-8").splitlines()[1:]
    texts = [line.split("\t")[1] for line in lines][: 8 if plan.quick else None]
    pipeline = Pipeline(plan.models, plan.models.text_pipeline())
    voice = find("nova", model=plan.models)
    options = SynthesisOptions(seed=7, watch=None).suited(plan.models.config)
    shares = {text: loops(pipeline, [text], voice, options) for text in texts}
    looping = [text for text in texts if shares[text] > 0]
    told = f"{len(looping)} of {len(texts)} hard texts loop without the watch"
    if len(looping) < 6:
        yield Row("loops, less by turning down the heads found", None, ">= 0.5", None,
                  note=f"{told}: too few to find heads on one half and try the other")  # fmt: skip
        return
    found = responsible(pipeline, looping[::2][:8], voice, options)
    try:
        edit = found.edit(2)
    except ValueError as error:
        yield Row("loops, less by turning down the heads found", 0.0, ">= 0.5", False,
                  note=f"{told}; {error}")  # fmt: skip
        return
    changed = options.model_copy(update={"edits": edit})
    held = looping[1::2]
    after = [loops(pipeline, [text], voice, changed) for text in held]
    before = [shares[text] for text in held]
    less = ratio([b - a for a, b in zip(after, before, strict=True)], before)
    yield Row("loops, less by turning down the heads found", less, ">= 0.5", less.value >= 0.5,
              note=f"{told}; heads {edit.heads}, found on the other half")  # fmt: skip


def row_why(plan: Plan) -> Iterator[Row]:
    """Top causes, their controls and mediation, on the strongest pitch event of each utterance."""
    answers = []
    for opened in plan.traces:
        speech = opened.spoken
        events = [e for p in speech.passages for e in events_of(speech, p)]
        pitch = [event for event in events if event.measure.kind == "pitch"]
        if pitch:
            answers.append(why(speech, word=pitch[0].word, what="pitch"))
    if len(answers) < 3:
        raise Unmeasured("fewer than 3 utterances have a pitch event")
    tops = [next(c for c in answer.causes if c.kind != "dice") for answer in answers]
    top, other = bootstrap([c.share for c in tops]), bootstrap([c.control for c in tops])
    yield Row(
        "why: share of the event that goes with the top cause", top, ">= 0.5", top.value >= 0.5
    )
    yield Row("why: another candidate of its kind", other, "<= 0.1", other.value <= 0.1)
    named = bootstrap([float(answer.best is not None) for answer in answers])
    kinds = Counter(answer.best.kind for answer in answers if answer.best is not None)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    yield Row("why: share of events with a cause that may be named", named, note=told)
    gaps = [a.mediation.gap for a in answers if a.mediation is not None and a.mediation.total]
    if gaps:
        yield Row("why: mediation adds up", max(gaps), "<= 0.02", max(gaps) <= 0.02)
    yield from _who_carries_pitch(answers)


def _who_carries_pitch(answers: list[Why]) -> Iterator[Row]:
    """Layers and couplings taken out one by one: share of each pitch event that goes with them."""
    for kind, what in (("layer", "GPT layers"), ("coupling", "couplings")):
        rows = [{c.name: c.share for c in answer.of(kind)} for answer in answers]
        names = sorted(rows[0], key=int)
        table = np.array([[row[name] for name in names] for row in rows])  # [events, candidates]
        note = ", ".join(f"{n}: {v:.2f}" for n, v in zip(names, np.median(table, 0), strict=True))
        half = len(names) // 2
        if kind == "layer":
            gap = table[:, -half:].mean(1) - table[:, :half].mean(1)
            yield Row(f"why: pitch, upper {what} over lower ones", bootstrap(gap, median),
                      note=f"share of the event, medians by layer: {note}")  # fmt: skip
        else:
            best = int(np.median(table[::2], 0).argmax())
            yield Row(f"why: pitch, the strongest of the {what}", bootstrap(table[1::2, best], median),
                      note=f"coupling {best}, chosen on the other events; medians: {note}")  # fmt: skip


def row_why_cost(plan: Plan) -> Iterator[Row]:
    """Seconds of a whole answer, for 5 s of audio."""
    costs = []
    for opened in plan.traces:
        speech = opened.spoken
        pitch = [
            e for p in speech.passages for e in events_of(speech, p) if e.measure.kind == "pitch"
        ]
        if pitch:
            answer = why(speech, word=pitch[0].word, what="pitch")
            costs.append(answer.seconds * 5.0 / speech.synthesis.seconds)
        if len(costs) == (3 if plan.quick else 8):
            break
    if len(costs) < 3:
        raise Unmeasured("fewer than 3 utterances have a pitch event")
    cost = bootstrap(costs)
    yield Row("why: cost for 5 s of audio", cost, "<= 60", cost.value <= 60, "s")


def row_paths(plan: Plan) -> Iterator[Row]:
    """Removing the top tenth of the edges against as many random ones, for pitch."""
    ranked, random, costs = [], [], []
    for opened in plan.traces[: 3 if plan.quick else 12]:
        began = time.process_time()
        point = critical_paths(opened.spoken, "pitch").remove[1]
        ranked.append(point.ranked)
        random.append(float(np.mean(point.random)))
        costs.append(time.process_time() - began)
    figure = ratio(ranked, random)
    yield Row("paths: top tenth of the edges removed, over random ones", figure, "> 1",
              figure.low > 1, note=f"{np.mean(costs):.1f} s an utterance; the interval must lie above 1")  # fmt: skip
