"""Figures about tokens are right on planted tokens, honest about chance, and refuse too little."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.bundle import Bundle
from voxray.explain import probes, tokens, units
from voxray.explain.tokens import TokenCorpus, Utterance

PHONES = np.array(["AA1", "IY1", "S", "T", "M", "SP", "p", "b", "a1", "sh"])


def planted(count: int = 4000, size: int = 40, noise: float = 0.0) -> TokenCorpus:
    """Each phone has four codes of its own; `noise` of the tokens get any code."""
    dice = np.random.default_rng(0)
    runs = np.repeat(dice.integers(0, len(PHONES), count // 4), 4)
    codes = 4 * runs + dice.integers(0, 4, len(runs))
    wrong = dice.random(len(runs)) < noise
    codes[wrong] = dice.integers(0, size, int(wrong.sum()))
    book = np.repeat(dice.standard_normal((len(PHONES), 8)), 4, axis=0)
    book = book + 0.1 * dice.standard_normal(book.shape)
    utterance = np.arange(len(runs)) // 100
    return TokenCorpus(
        codes=codes.astype(np.int64),
        symbols=PHONES[runs],
        speakers=np.array([f"s{u % 4}" for u in utterance]),
        utterances=utterance,
        f0=np.zeros(len(runs)),
        vectors=book[codes],
        mfcc=dice.standard_normal((len(runs), 39)) + 0.3 * np.eye(39)[runs],
        codebook=book,
        supervised=False,
    )


def test_perfect_tokens_know_everything() -> None:
    corpus = planted()
    assert tokens.pnmi(corpus.codes, corpus.symbols) == pytest.approx(1)
    assert tokens.phone_purity(corpus.codes, corpus.symbols) == 1
    assert tokens.cluster_purity(corpus.codes, corpus.symbols) == pytest.approx(0.25, abs=0.03)
    assert tokens.codebook_use(corpus.codes, corpus.size) == 1
    assert tokens.perplexity(corpus.codes) == pytest.approx(40, rel=0.05)


def test_chance_is_small_but_not_nothing() -> None:
    """The floor grows with K: it must be shown."""
    corpus = planted(1000)
    low = tokens.floor(tokens.pnmi, corpus.codes, corpus.symbols)
    fine = np.random.default_rng(1).integers(0, 400, len(corpus))
    assert 0 < low < 0.2 < tokens.floor(tokens.pnmi, fine, corpus.symbols)


def test_half_known_lies_between_with_its_interval() -> None:
    corpus = planted(noise=0.5)
    figure = tokens.over_utterances(tokens.pnmi, corpus, corpus.symbols)
    assert 0.2 < figure.low < figure.value < figure.high + 0.05 < 0.75


def test_tokens_beat_mfcc_kmeans_at_equal_k() -> None:
    corpus = planted()
    codes, _ = tokens.kmeans(corpus.mfcc, corpus.size)
    assert len(np.unique(codes)) > 30
    assert tokens.pnmi(codes, corpus.symbols) < tokens.pnmi(corpus.codes, corpus.symbols) - 0.2


def test_kmeans_finds_what_is_there() -> None:
    dice = np.random.default_rng(0)
    centres = 10 * dice.standard_normal((5, 3))
    owner = dice.integers(0, 5, 500)
    codes, _ = tokens.kmeans(centres[owner] + 0.1 * dice.standard_normal((500, 3)), 5, seed=3)
    assert tokens.phone_purity(codes, owner) > 0.75


def test_abx_knows_good_from_chance() -> None:
    corpus = planted()
    good = tokens.abx(corpus.vectors, corpus, triples=300)
    dice = np.random.default_rng(0)
    chance = tokens.abx(dice.standard_normal(corpus.vectors.shape), corpus, triples=300)
    assert good.value < 0.05 and 0.4 < chance.value < 0.6


def test_symbols_stand_where_they_are_said() -> None:
    spoken = Utterance(
        np.zeros(16_000, np.float32), 16_000, ("HH", "AY1"), np.array([[0.1, 0.2], [0.2, 0.5]])
    )
    found = tokens.symbols_at(spoken, 25)
    assert (
        found[:2] == ["SP", "SP"] and found[3] == "HH" and found[6] == "AY1" and found[20] == "SP"
    )


def test_a_corpus_from_the_model(tiny: Bundle) -> None:
    from conftest import speechlike

    spans = np.array([[0.0, 1.0], [1.0, 4.0]])
    clips = [Utterance(speechlike(4.0), 16_000, ("S", "AA1"), spans, f"s{i}") for i in range(3)]
    corpus = tokens.collect(tiny, clips, supervised=True)
    assert len(corpus) == 300 and corpus.supervised and corpus.mfcc.shape == (300, 39)
    assert set(corpus.kinds) == {"vowel", "consonant"} and (corpus.f0 > 0).any()
    with pytest.raises(ValueError, match="too few"):
        tokens.collect(tiny, clips[:1], supervised=True)


def test_neighbours_and_profiles() -> None:
    corpus = planted()
    near = tokens.nearest(corpus.codebook, 0, 3)
    assert {code for code, _ in near} == {1, 2, 3} and near[0][1] > 0.8
    assert tokens.profile(corpus, 0) == {"AA1": 1.0}
    with pytest.raises(ValueError, match="not one of"):
        tokens.nearest(corpus.codebook, 99)


@pytest.mark.slow
def test_maps_carry_their_trustworthiness() -> None:
    pytest.importorskip("sklearn")
    corpus = planted()
    made = tokens.token_map(corpus, corpus.kinds)
    assert made.places.shape == (40, 2) and 0.5 < made.trustworthiness <= 1
    assert set(made.labels) == {"vowel", "consonant", "silence"}
    with pytest.raises(ValueError, match="too few for a map"):
        tokens.token_map(corpus, corpus.kinds, least=10_000)


def test_probes_read_what_is_there_on_unseen_speakers() -> None:
    corpus = planted()
    voiced = [str(s in ("AA1", "IY1", "M", "a1")) for s in corpus.symbols]
    found = probes.linear_probe(corpus.vectors, voiced, corpus.speakers)
    assert found.measure == "AUROC" and found.score > 0.9 and found.groups == 4
    noise = np.random.default_rng(1).standard_normal(corpus.vectors.shape)
    assert abs(probes.linear_probe(noise, voiced, corpus.speakers).score - 0.5) < 0.05
    many = probes.linear_probe(corpus.vectors, list(corpus.symbols), corpus.utterances.tolist())
    assert many.measure == "accuracy" and many.score > many.floor + 0.5
    with pytest.raises(ValueError, match="two or more"):
        probes.linear_probe(noise, voiced, ["one"] * len(noise))


def test_histograms_count() -> None:
    table, names = probes.histograms(np.array([0, 0, 2]), np.array([7, 7, 9]), 3)
    assert names.tolist() == [7, 9]
    np.testing.assert_allclose(table, [[1, 0, 0], [0, 0, 1]])


def test_retrieval_finds_planted_pairs_in_their_layer_only() -> None:
    dice = np.random.default_rng(0)
    one, other = dice.standard_normal((2, 30, 2, 16))
    other[:, 1] = one[:, 1] + 0.3 * dice.standard_normal((30, 16)) + 5.0  # and another mean
    made = probes.retrieval(one, other, ("low", "high"), draws=200)
    assert made.best == 1 and made.mrr[1].value > 0.9 and made.found
    assert made.p[0] > 0.05 and made.shuffled[0] == pytest.approx(0.13, abs=0.04)
    with pytest.raises(ValueError, match="five pairs"):
        probes.retrieval(one[:3], other[:3], ("a", "b"))


def test_the_cross_language_view_and_roles_on_the_tiny_model(tiny: Bundle) -> None:
    pairs = [("Hello.", "你好。"), ("Thanks.", "谢谢。"), ("Good day.", "早上好。"),
             ("I am happy.", "我很开心。"), ("Goodbye.", "再见。")]  # fmt: skip
    made = probes.bilingual(tiny, pairs, draws=100)
    assert made.layers == ("embed", "layer 0", "layer 1") and made.claim == "correlational"
    assert len(probes.word_likeness(tiny, "happy", "开心")) == 3
    bound = probes.role_binding(tiny, probes.ROLES[:6] + probes.ROLES[10:14], draws=200)
    assert 0 <= bound.mean.value <= 1 and bound.sentences == 10


def test_words_that_are_not_there_are_refused(tiny: Bundle) -> None:
    phonemes = tiny.text_pipeline()("他把文件打印了。")
    assert probes.phoneme_places(phonemes, "文件") == [4, 5, 6, 7]
    with pytest.raises(ValueError, match="not in the text"):
        probes.phoneme_places(phonemes, "书")


def test_every_role_is_in_its_sentence(tiny: Bundle) -> None:
    front = tiny.text_pipeline()
    for role in probes.ROLES:
        phonemes = front(role.text)
        found = [probes.phoneme_places(phonemes, w) for w in (role.verb, role.patient, role.lure)]
        assert not set(found[1]) & set(found[2]), role.text


def test_units_are_learnt_from_sound_alone() -> None:
    from conftest import speechlike

    waves = [speechlike(3.0), speechlike(3.0, noise_db=-30.0)]
    _, before = units.learn_units(waves, 16_000, steps=1, batch=2)
    model, after = units.learn_units(waves, 16_000, steps=15, batch=2)
    assert after < before
    codes = units.units_of(model, waves[0], 16_000, 75)
    assert len(codes) == 75 and codes.max() < 100
    with pytest.raises(ValueError, match="give some"):
        units.learn_units(waves[:1], 16_000, steps=1)
