"""Rows about the tokens and about timbre."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from explain_plan import Plan, Row, Unmeasured

from voxray.explain import ledger, probes, tokens, units
from voxray.explain.ledger import Member
from voxray.explain.statistics import Interval
from voxray.explain.tokens import TokenCorpus
from voxray.models.generator import Generator
from voxray.text.inventory import sound


def row_token_purity(plan: Plan) -> Iterator[Row]:
    """How well codes name phones, against chance and against MFCC k-means at equal K."""
    made, _ = plan.corpus
    figure = tokens.over_utterances(tokens.pnmi, made, made.symbols, draws=30)
    low = tokens.floor(tokens.pnmi, made.codes, made.symbols)
    note = f"supervised tokens; {len(made)} tokens, K = {made.size}, shuffled floor {low:.3f}"
    yield Row("PNMI", figure, ">= 0.55", figure.value >= 0.55, "", note)
    yield Row("PNMI above its shuffled floor", figure.value - low)
    seen = len(np.unique(made.codes))
    simple, _ = tokens.kmeans(made.mfcc, min(made.size, len(made) // 4), rounds=6)
    other = tokens.pnmi(simple, made.symbols)
    gain = figure.value - other
    yield Row(
        "PNMI over MFCC k-means",
        gain,
        ">= 0.20",
        gain >= 0.2,
        "",
        f"MFCC {other:.3f} with {len(np.unique(simple))} clusters; codes {seen}",
    )
    kinds = tokens.over_utterances(tokens.phone_purity, made, made.kinds, draws=30)
    chance = tokens.floor(tokens.phone_purity, made.codes, made.kinds)
    yield Row(
        "vowel / consonant / silence purity",
        kinds,
        ">= 0.90",
        kinds.value >= 0.9,
        "",
        f"shuffled {chance:.3f}",
    )
    yield Row(
        "phone purity",
        tokens.phone_purity(made.codes, made.symbols),
        note=f"shuffled {tokens.floor(tokens.phone_purity, made.codes, made.symbols):.3f}",
    )
    yield Row("cluster purity", tokens.cluster_purity(made.codes, made.symbols))
    use = tokens.codebook_use(made.codes, made.size)
    yield Row(
        "codebook use",
        use,
        ">= 0.80",
        use >= 0.8,
        "",
        f"perplexity {tokens.perplexity(made.codes):.0f}",
    )
    error = tokens.abx(made.vectors, made, triples=1000)
    plain = tokens.abx(made.mfcc, made, triples=1000)
    yield Row("ABX error across speakers", error, note=f"MFCC {plain.value:.3f}; chance 0.5")


def row_token_probes(plan: Plan) -> Iterator[Row]:
    """Voicing and aspiration from the code vectors, on held-out speakers; speaker leakage."""
    made, _ = plan.corpus
    rows = np.random.default_rng(0).permutation(len(made))[:6000]
    consonant = rows[[made.kinds[i] == "consonant" for i in rows]]
    for name in ("voiced", "aspirated"):
        labels = [str(getattr(sound(str(made.symbols[i])), name)) for i in consonant]
        found = probes.linear_probe(
            made.vectors[consonant], labels, made.speakers[consonant].tolist()
        )
        yield Row(
            f"{name} consonants, AUROC",
            found.score,
            ">= 0.90",
            found.score >= 0.9,
            "",
            f"{found.items} tokens, {found.groups} speakers held out in turn; supervised tokens",
        )
    tones = [i for i in rows if sound(str(made.symbols[i])).tone]
    found = probes.linear_probe(
        made.vectors[tones],
        [str(sound(str(made.symbols[i])).tone) for i in tones],
        made.speakers[tones].tolist(),
    )
    yield Row("Mandarin tone, accuracy", found.score, note=f"commonest {found.floor:.3f}")
    table, names = probes.histograms(made.codes, made.utterances, made.size)
    who = [str(made.speakers[made.utterances == u][0]) for u in names]
    sex = [w.split("/")[-1][1:2] for w in who]
    kept = [i for i, s in enumerate(sex) if s in ("f", "m") and "+" not in who[i]]
    if len(set(np.asarray(sex)[kept])) == 2:
        found = probes.linear_probe(table[kept], [sex[i] for i in kept], [who[i] for i in kept])
        yield Row(
            "sex of the speaker from the tokens' histogram, AUROC",
            found.score,
            note=f"0.5: no leak; {found.items} clips, unseen speakers",
        )
    common = [w for w in set(who) if who.count(w) >= 4]
    kept = [i for i, w in enumerate(who) if w in common]
    if len(common) >= 2:
        found = probes.linear_probe(table[kept], [who[i] for i in kept], [str(i) for i in kept])
        yield Row(
            "speaker from the tokens' histogram, accuracy",
            found.score,
            note=f"commonest {found.floor:.3f}, {len(common)} speakers",
        )


def row_unlabelled_units(plan: Plan) -> Iterator[Row]:
    """The same figures for 100 units learnt from sound alone (article quantiser, autoencoder)."""
    made, clips = plan.corpus
    learner, _ = units.learn_units(
        [clip.wave for clip in clips], clips[0].rate, steps=150 if plan.quick else 1500
    )
    codes = np.concatenate(
        [
            units.units_of(learner, clip.wave, clip.rate, int((made.utterances == number).sum()))
            for number, clip in enumerate(clips)
            if (made.utterances == number).any()
        ]
    )
    other = replace(
        made, codes=codes, codebook=learner.encoder.quantiser.codebook.numpy(), supervised=False
    )
    simple, _ = tokens.kmeans(made.mfcc, 100, rounds=8)
    yield from _unlabelled("PNMI", tokens.pnmi, other, made.symbols, simple)
    purity = "vowel / consonant / silence"
    yield from _unlabelled(purity, tokens.phone_purity, other, made.kinds, simple)
    rows = np.flatnonzero(made.kinds == "consonant")
    consonants = _part(other, rows)
    for name in ("voiced", "aspirated"):
        labels = np.asarray([str(getattr(sound(str(s)), name)) for s in consonants.symbols])
        yield from _unlabelled(
            f"{name} consonants", tokens.phone_purity, consonants, labels, simple[rows]
        )


def _part(made: TokenCorpus, rows: np.ndarray) -> TokenCorpus:
    """Some rows of a corpus."""
    columns = ("codes", "symbols", "speakers", "utterances", "f0", "vectors", "mfcc")
    return replace(made, **{name: getattr(made, name)[rows] for name in columns})


def _unlabelled(
    name: str,
    measure: Callable[[np.ndarray, np.ndarray], float],
    made: TokenCorpus,
    labels: np.ndarray,
    simple: np.ndarray,
) -> Iterator[Row]:
    """A figure, and where it stands between shuffled codes (0) and codes that tell all (1)."""
    figure = tokens.over_utterances(measure, made, labels, draws=100)
    low = tokens.floor(measure, made.codes, labels)
    note = f"shuffled {low:.3f}, MFCC k-means {measure(simple, labels):.3f}"
    yield Row(f"without labels, K = 100: {name}", figure, note=note)
    ends = (figure.value, figure.low, figure.high)
    value, least, most = ((end - low) / max(1e-9, 1 - low) for end in ends)
    yield Row(f"without labels, K = 100: {name}, way from shuffled to pure",
              Interval(value, least, most, figure.count), note=note)  # fmt: skip


def row_map(plan: Plan) -> Iterator[Row]:
    """Are neighbours on the map neighbours?"""
    made, _ = plan.corpus
    for method in ("tsne", "umap"):
        try:
            drawn = tokens.token_map(made, made.kinds, method=method)
        except ImportError as error:
            raise Unmeasured(f"the extra explain-umap is missing: {error}") from error
        yield Row(
            f"map of the codes, {method}, trustworthiness (k = 15)",
            drawn.trustworthiness,
            ">= 0.90",
            drawn.trustworthiness >= 0.9,
            "",
            f"{len(drawn.codes)} codes",
        )


def row_ledger(plan: Plan) -> Iterator[Row]:
    """Who decides whose voice it is; speakers swapped part by part."""
    if not isinstance(plan.models.generator, Generator):
        raise Unmeasured("this model makes its sound by flow matching")
    by_speaker: dict[str, object] = {}
    for clip in plan.timed + plan.corpus[1]:
        if "+" not in clip.clip.speaker and len(clip.wave) / clip.rate > 2:
            by_speaker.setdefault(clip.clip.speaker, clip)
    chosen = list(by_speaker.items())[: 4 if plan.quick else 10]
    members = [
        Member(
            name,
            plan.models.speaker_vector(c.wave, c.rate),
            tuple(plan.models.tokens(c.wave, c.rate)),
            plan.models.memory(c.wave, c.rate),
        )
        for name, c in chosen
    ]
    lengths = [len(opened.passages[0].passage.tokens) for opened in plan.traces]
    speech = plan.traces[int(np.argsort(lengths)[len(lengths) // 2])].spoken
    count = len(members)
    pairs = [(i, (i + step) % count) for step in range(1, min(4, count)) for i in range(count)]
    made = ledger.ledger(speech, members, pairs=pairs)
    yield Row(
        "timbre ledger, sum of the shares",
        made.total,
        "1 +- 0.02",
        abs(made.total - 1) <= 0.02,
        "",
        f"{made.pairs} pairs, {made.skipped} skipped; judge: {made.judge}; gain {made.gain}",
    )
    for part, share in made.shares.items():
        yield Row(f"timbre ledger, {part}", share, note="share of the likeness")
    yield Row("timbre ledger, tokens and speaker vector together", made.path,
              note="share of the likeness; the rest is remembered of the reference")  # fmt: skip
    yield Row("timbre ledger, interaction", made.interaction)
    guesses = [
        ledger.gradient_shares(speech, members[i], members[i + 1], steps=8)
        for i in range(min(3, len(members) - 1))
    ]
    apart = max(
        abs(np.mean([g[part] for g in guesses]) - made.shares[part].value) for part in made.shares
    )
    yield Row("timbre ledger, largest distance of IG shares", float(apart), "<= 0.10", apart <= 0.1)
