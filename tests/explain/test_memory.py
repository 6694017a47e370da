"""The reference's frames as a cause: replays hold them, exchanges are exact, shares sum to one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests_explain import nobody

from conftest import with_memory
from voxray.bundle import Bundle
from voxray.explain import (
    attribution,
    candidates,
    ledger,
    memory,
    paths,
    reference,
    replay,
    stages,
    timbre,
)
from voxray.explain import report as reports
from voxray.explain.catalogue import catalogue
from voxray.explain.ledger import Member
from voxray.explain.patching import CLEAN, Change, Rollout, curves
from voxray.explain.tracing import Trace, trace
from voxray.models import retrieval
from voxray.sites import attach, sites


@pytest.fixture(scope="module", autouse=True)
def trusting() -> Iterator[None]:
    """Whatever is nearest is taken: random frames are never really alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "TRUSTED", 1e9)
        yield


@pytest.fixture(scope="module")
def made(remembering: Bundle) -> Trace:
    voice = with_memory(nobody())
    return trace("Hello there.", voice, model=remembering, seed=3, max_tokens=40)


def test_a_replay_is_the_speech_bit_for_bit(made: Trace) -> None:
    speech, passage = made.spoken, made.spoken.passages[0]
    _, decoder = replay.sound(speech, passage)
    assert np.array_equal(np.concatenate(decoder.latents, axis=1), speech.synthesis.latents)
    with torch.no_grad():
        whole = replay.decode(speech, passage)
        none = replay.decode(speech, passage, memory=memory.nothing(speech.models.generator))
    assert np.array_equal(whole.latents[0].numpy(), speech.synthesis.latents)
    assert (whole.latents - none.latents).abs().max() > 1e-2


def test_stages_and_batches_remember(made: Trace) -> None:
    speech, passage = made.spoken, made.spoken.passages[0]
    generator = speech.models.generator
    codes = stages.codes_of(generator, torch.tensor([passage.tokens]))
    cast = stages.Cast.one(speech.voice.speaker[None])
    with torch.no_grad():
        whole = replay.decode(speech, passage)
        assert torch.equal(stages.speak(speech, passage, codes, cast).audio, whole.audio)
        two = stages.Cast.one(speech.voice.speaker[None].expand(2, -1))
        both = stages.latents(speech, passage, codes.expand(2, -1, -1), two)
    assert torch.allclose(both, whole.latents.expand(2, -1, -1), atol=1e-4)
    runs = [Rollout(passage.tokens, passage.path)] * 2
    pairs = curves(speech, passage, runs, CLEAN, loud=True)
    alone = curves(speech, passage, runs[:1], CLEAN, loud=True)[0]
    for pair in pairs:
        assert np.allclose(pair.level, alone.level, atol=1e-2)


def test_exchanging_what_is_heard_is_exchanging_the_memory(
    made: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech, passage = made.spoken, made.spoken.passages[0]
    generator = speech.models.generator
    for other in (with_memory(nobody(), 8, 17).memory, memory.nothing(generator)):
        monkeypatch.setattr(memory, "common_memory", lambda speech, other=other: other)
        with torch.no_grad():
            wanted = replay.decode(speech, passage, memory=other)
            with attach(generator, memory.other_memory(speech)):
                found = replay.decode(speech, passage)
        assert torch.equal(found.latents, wanted.latents)


def test_nothing_is_as_no_memory(made: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero frames are heard as if the voice had none at all."""
    speech, passage = made.spoken, made.spoken.passages[0]
    generator = speech.models.generator
    plain = replace(speech, voice=nobody())
    monkeypatch.setattr(memory, "common_memory", lambda speech: memory.nothing(generator))
    with torch.no_grad():
        wanted = replay.decode(plain, passage)
        with attach(generator, memory.other_memory(speech)):
            found = replay.decode(speech, passage)
    assert torch.equal(found.latents, wanted.latents)


def test_look_up_and_retrieval_are_exchanged_apart_and_together(
    made: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech, passage = made.spoken, made.spoken.passages[0]
    other = with_memory(nobody(), 8, 17).memory
    assert other is not None
    monkeypatch.setattr(memory, "common_memory", lambda speech: other)
    edges = {e[:2]: e[2] for e in paths.generator_edges(speech, passage)}
    read, taken = edges["memory", "prior"], edges["memory", "waveform"]
    generator, kept = speech.models.generator, speech.models.generator.config.retrieval

    def latents(*changes: Change) -> torch.Tensor:
        with torch.inference_mode(), attach(generator, paths.combined(changes).generator):
            return replay.decode(speech, passage).latents

    clean, fine = latents(), latents(taken)
    same = replace(other, correction=made.spoken.voice.memory.correction)
    monkeypatch.setattr(memory, "common_memory", lambda speech: same)
    with torch.inference_mode(), attach(generator, memory.other_retrieval(speech)):
        assert torch.equal(replay.decode(speech, passage).latents[:, :kept], clean[:, :kept])
    monkeypatch.setattr(memory, "common_memory", lambda speech: other)
    assert not torch.equal(fine[:, :kept], clean[:, :kept])  # its correction is another one
    assert (fine[:, kept:] - clean[:, kept:]).abs().max() > 1e-2
    assert (latents(read)[:, :kept] - clean[:, :kept]).abs().max() > 1e-3
    with torch.inference_mode():
        wanted = replay.decode(speech, passage, memory=other).latents
    assert torch.allclose(latents(read, taken), wanted, atol=1e-4)
    asked = edges["codes", "memory"]
    both = latents(asked, taken)
    assert torch.equal(both, latents(taken, asked))
    assert not torch.equal(both, latents(asked)) and not torch.equal(both, fine)


def test_what_is_exchanged_in_the_latents_is_a_term_of_the_ledger(made: Trace) -> None:
    speech, passage = made.spoken, made.spoken.passages[0]
    codes = stages.codes_of(speech.models.generator, torch.tensor(passage.tokens))
    ways, speaker = (codes.mean(0).expand_as(codes), codes), speech.voice.speaker
    found = ledger.conductance(
        speech, passage, lambda z: z[:, 10:20].square().mean((1, 2)), ways, (0 * speaker, speaker)
    )
    assert set(found.parts) == {"prior", "coupling 0", "coupling 1", "memory"}
    assert found.parts["memory"] != 0 and found.completeness_error < 0.05


def test_half_and_half_meets_both_ends(made: Trace) -> None:
    speech, passage = made.spoken, made.spoken.passages[0]
    generator, own = speech.models.generator, speech.voice.memory
    other = with_memory(nobody(), 8, 17).memory
    assert own is not None and other is not None
    for share, whose in ((0.0, own), (1.0, other)):
        with torch.no_grad():
            wanted = replay.decode(speech, passage, memory=whose)
            with attach(generator, memory.between(generator, own, other, torch.tensor([share]))):
                found = replay.decode(speech, passage)
        assert torch.allclose(found.latents, wanted.latents, atol=1e-4)
    share = torch.tensor([0.5], requires_grad=True)
    with attach(generator, memory.between(generator, own, other, share)):
        replay.decode(speech, passage).latents[:, -1].sum().backward()
    assert share.grad is not None and share.grad.abs() > 1e-3


def test_it_is_a_candidate_and_a_node_of_its_own(made: Trace, tiny: Bundle) -> None:
    speech, passage = made.spoken, made.spoken.passages[0]
    found = {c.kind: c for c in candidates.in_the_generator(speech, passage, 0, passage.tokens[:1])}
    assert found["memory"].name == "what is remembered of the reference"
    edges = {(a, b): change for a, b, change in paths.generator_edges(speech, passage)}
    roads = [("memory", "prior"), ("memory", "waveform"), ("codes", "memory")]
    effects = paths.measure(speech, passage, [edges[road] for road in roads])
    assert all(effect["timbre"] > 1e-3 for effect in effects)
    plain = replace(speech, voice=nobody())
    assert "memory" not in {c.kind for c in candidates.in_the_generator(plain, passage, 0, ())}
    assert not set(roads) & {e[:2] for e in paths.generator_edges(plain, passage)}
    unable = replace(speech, models=tiny)
    assert "memory" not in {c.kind for c in candidates.in_the_generator(unable, passage, 0, ())}


@torch.inference_mode()
def test_cut_together_edges_do_not_undo_each_other(made: Trace) -> None:
    """Where the codes are cut at their source, the direct path's cut changes nothing, in either order."""
    speech, passage = made.spoken, made.spoken.passages[0]
    edges = [change for _, _, change in paths.generator_edges(speech, passage)]
    source = next(change for change in edges if change.name == "tokens -> codes")
    direct = next(change for change in edges if change.name == "codes -> direct path")
    run = Rollout(passage.tokens, passage.path)
    clean, wanted, alone = (
        paths._sound(speech, passage, run, change)[1] for change in (CLEAN, source, direct)
    )
    assert all(np.abs(clean - other).max() > 0.01 for other in (wanted, alone))
    for order in ((source, direct), (direct, source)):
        both = paths.combined(order)
        assert np.allclose(paths._sound(speech, passage, run, both)[1], wanted, atol=1e-5)


def test_the_timbre_of_the_memory_stands_beside_the_vector(made: Trace) -> None:
    short = replace(made.spoken.passages[0], tokens=made.spoken.passages[0].tokens[:4],
                    path=made.spoken.passages[0].path[:4])  # fmt: skip
    assert timbre.rank_dimensions(made.spoken, short).memory != 0
    assert timbre.rank_dimensions(replace(made.spoken, voice=nobody()), short).memory is None


def members(memories: bool = True) -> list[Member]:
    dice = np.random.default_rng(0)
    return [
        Member(
            f"m{i}", nobody(i).speaker, tuple(dice.integers(0, 1024, 6).tolist()),
            with_memory(nobody(i), i, 10 + i).memory if memories else None,
        )
        for i in range(3)
    ]  # fmt: skip


def spectrum(wave: np.ndarray, rate: int) -> np.ndarray:
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512)
    level = np.log(np.abs(np.fft.rfft(frames)) + 1e-3).mean(0)
    return level - level.mean()


def test_the_ledger_has_it_as_a_part(remembering: Bundle, made: Trace) -> None:
    found = ledger.ledger(made.spoken, members(), listen=spectrum)
    assert set(found.shares) == {"tokens", "memory", "prior", "flow"}
    assert found.total == pytest.approx(1, abs=1e-6)
    assert abs(found.shares["memory"].value) > 1e-3
    assert ledger.parts_of(remembering.generator, members(memories=False)) == (
        "tokens", "prior", "flow",
    )  # fmt: skip


def test_gradient_shares_have_it_as_well(made: Trace) -> None:
    one, other, _ = members()
    found = ledger.gradient_shares(made.spoken, one, other, steps=8)
    assert list(found) == ["tokens", "memory", "prior", "flow"]
    assert sum(found.values()) == pytest.approx(1, abs=0.2)


def test_sound_is_attributed_in_full_though_the_frames_retrieved_jump(
    made: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    passage = made.spoken.passages[0]
    straight = attribution.generator_to_sound(made.spoken, passage, "energy", steps=16)
    assert not straight.skipped
    assert straight.completeness_error < 0.02
    monkeypatch.setattr(attribution, "looks_up", lambda speech: False)
    jumping = attribution.generator_to_sound(made.spoken, passage, "energy", steps=16)
    assert jumping.value == pytest.approx(straight.value)  # the ends are the same speech
    assert jumping.baseline_value == pytest.approx(straight.baseline_value)
    assert jumping.completeness_error > straight.completeness_error


def test_gradients_pass_by_what_a_bundle_heard(remembering: Bundle, made: Trace) -> None:
    wave = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 10
    heard = remembering.memory(wave, 24_000)
    assert heard is not None
    assert heard.correction is not None
    one, other, _ = members()
    shares = ledger.gradient_shares(made.spoken, replace(one, memory=heard), other, steps=8)
    assert sum(shares.values()) == pytest.approx(1, abs=0.3)


def test_every_site_is_described(remembering: Bundle) -> None:
    names = {place.name for place in catalogue({"generator": remembering.generator})}
    parts = ("q", "k", "v", "bias", "pattern", "z")
    assert {f"generator.prior.memory.attn.{part}" for part in parts} <= names
    assert "generator.prior.memory.read" in names
    heard = {"heard_codes", "heard_latents", "retrieved"}
    assert {f"generator.{name}" for name in heard} <= names


def test_words_are_looked_up_where_their_tokens_stand(made: Trace) -> None:
    """A search finds the reference's copy of what is said; the report shows it."""
    models = copy.copy(made.models)
    models.generator = copy.deepcopy(made.models.generator)
    models.generator.codebook.div_(models.generator.codebook.norm(dim=1, keepdim=True))
    reader = models.generator.prior.memory
    assert reader is not None
    reader.ask.weight.data.zero_()
    reader.start_from(torch.eye(48, 72), 20.0)
    passage = made.spoken.passages[0]
    dice = torch.Generator().manual_seed(0)
    before, said = torch.randint(0, 1024, (10,), generator=dice), torch.tensor(passage.tokens)
    tokens = torch.cat([before, said, before])
    latents = torch.randn(96, 2 * len(tokens), generator=dice)
    voice = replace(nobody(), memory_tokens=tokens, memory_latents=latents)
    speech = replace(made.spoken, models=models, voice=voice)
    weights = reference.attention(speech, passage)
    assert weights.shape == (len(said), 1 + len(tokens))
    assert np.allclose(weights.sum(1), 1, atol=1e-4)
    right = weights[1:-1, 1:].argmax(1) == 10 + np.arange(1, len(said) - 1)
    assert right.mean() > 0.8  # tokens that come twice may be found at either place
    found = reference.look_ups(speech)
    assert [f.text for f in found] == ["Hello", "there"]
    for number, one in enumerate(found):
        places = [10 + i for i, at in enumerate(passage.path) if passage.words[at] == number]
        best = one.moments[0]
        assert places[0] - 2 <= best.start_s / 0.04 <= places[-1] + 1
        assert 0 < best.weight <= 1 and 0 <= one.nothing < 0.5


def test_retrievals_name_the_frames_that_were_copied(made: Trace) -> None:
    """The latents of the run are those of the frames named, and words carry times and shares."""
    speech, passage = made.spoken, made.spoken.passages[0]
    weights = reference.copied(speech, passage)
    assert weights.shape == (len(passage.tokens), 1 + speech.voice.memory.tokens.shape[1])
    assert np.allclose(weights.sum(1), 1)
    assert weights[:, 0].max() < 1e-6  # everything is trusted here
    latents, heard = speech.synthesis.latents, speech.voice.memory.latents[0].numpy()
    kept = speech.models.generator.config.retrieval
    for token in range(0, len(passage.tokens), 5):
        frames = [f for t in np.flatnonzero(weights[token, 1:]) for f in (2 * t, 2 * t + 1)]
        for frame in (2 * token, 2 * token + 1):
            apart = np.abs(heard[kept:, frames] - latents[kept:, frame, None]).max(0)
            assert apart.min() < 1e-3
    found = reference.retrievals(made)
    assert [one.text for one in found] == ["Hello", "there"]
    assert all(one.moments and one.claim == reference.COPIED for one in found)
    assert found[0].to_json()["moments"][0]["start_s"] >= 0


def test_frames_that_are_not_alike_stay_as_predicted(
    made: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "TRUSTED", -1e9)
    found = reference.retrievals(made)
    assert all(one.nothing == pytest.approx(1.0) and not one.moments for one in found)


def test_voices_without_a_memory_look_nothing_up(made: Trace) -> None:
    with pytest.raises(ValueError, match="remembers no frames"):
        reference.look_ups(replace(made.spoken, voice=nobody()))
    with pytest.raises(ValueError, match="retrieves no fine latents"):
        reference.retrievals(replace(made.spoken, voice=nobody()))


@pytest.mark.slow
def test_the_report_shows_the_look_ups(made: Trace) -> None:
    from voxray.explain.page import page

    found = reports.report_of(made)
    assert [row["word"] for row in found.to_json()["look_ups"]] == ["Hello", "there"]
    assert [row["word"] for row in found.to_json()["retrievals"]] == ["Hello", "there"]
    shown = page(found)
    assert 'id="reference"' in shown and "copied from" in shown
    assert not any(site.live for site in sites(made.models.generator).values())
