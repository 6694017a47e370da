"""Edits are data: validated, saved, composed, and they do what they say, streamed and whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from voxray import steer
from voxray.bundle import Bundle
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.sites import record, sites
from voxray.steer import Concept, Edits, Emphasis, HeadGain, Prosody, Repetition
from voxray.steer import edits as edits_module
from voxray.synthesis import Synthesis
from voxray.text import TextPipeline
from voxray.voice import Voice

TEXT = "Hello there, my dear friend."


@pytest.fixture(scope="module")
def pipeline(tiny: Bundle) -> Pipeline:
    return Pipeline(tiny, TextPipeline())


def say(pipeline: Pipeline, voice: Voice, edits: object = None, **more: object) -> Synthesis:
    options = SynthesisOptions(seed=3, max_tokens=40, edits=edits, **more)
    return pipeline.synthesise(TEXT, voice, options)


def span(made: Synthesis, word: str) -> np.ndarray:
    found = next(entry for entry in made.words if entry.text == word)
    return made.audio[
        round(found.start_s * made.sample_rate) : round(found.end_s * made.sample_rate)
    ]


def test_edits_that_do_nothing_change_nothing(pipeline: Pipeline, voice: Voice) -> None:
    plain = say(pipeline, voice)
    idle = HeadGain(site="gpt.blocks.0.attn.z", head=0, gain=1.0) + Prosody(word="dear")
    made = say(pipeline, voice, idle)
    assert np.array_equal(made.tokens, plain.tokens)
    assert np.allclose(made.audio, plain.audio, atol=1e-6)
    assert not any(site.live for site in sites(pipeline.models.gpt).values())


def test_a_head_taken_out_changes_tokens_only_from_its_step_on(
    pipeline: Pipeline, voice: Voice
) -> None:
    plain = say(pipeline, voice)
    edit = HeadGain(site="gpt.blocks.1.attn.z", head=1, gain=-10.0, steps=(12, 40))
    made = say(pipeline, voice, edit)
    assert np.array_equal(made.tokens[:12], plain.tokens[:12])
    assert not np.array_equal(made.tokens, plain.tokens)
    stream = pipeline.stream(TEXT, voice, SynthesisOptions(seed=3, max_tokens=40, edits=edit))
    assert sum(len(chunk) for chunk in stream) > 0
    assert np.array_equal(stream.synthesis.tokens, made.tokens)


def test_gain_zero_is_silence_of_the_head(pipeline: Pipeline, voice: Voice) -> None:
    with record(pipeline.models.gpt, "blocks.0.attn.z") as seen:
        say(pipeline, voice, HeadGain(site="gpt.blocks.0.attn.z", head=1, gain=0.0))
    for z in seen["blocks.0.attn.z"]:
        assert z[:, :, 1].abs().max() == 0
        assert z[:, :, 0].abs().max() > 0


def test_emphasis_is_exact(pipeline: Pipeline, voice: Voice) -> None:
    """Weights of the word's columns are multiplied by the dose, then all renormalised."""
    gpt = pipeline.models.gpt
    phonemes = TextPipeline()(TEXT)
    word = steer.find_word(phonemes, "dear")
    columns = [i for i, item in enumerate(phonemes.items) if item.word == word]
    ids, lengths = torch.tensor([phonemes.ids]), torch.tensor([len(phonemes)])
    from voxray.sites import attach
    from voxray.steer.functions import chained, column_bias

    tokens = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        with record(gpt, "blocks.0.attn.pattern") as seen:
            gpt(ids, lengths, tokens)
        edit = chained([column_bias([1], 2, columns, float(np.log(5.0)))])
        with attach(gpt, {"blocks.0.attn.bias": edit}), record(gpt, "*pattern") as with_it:
            gpt(ids, lengths, tokens)
    before = seen["blocks.0.attn.pattern"][0]
    after = with_it["blocks.0.attn.pattern"][0]
    weighted = before.clone()
    weighted[..., columns] *= 5.0
    weighted /= weighted.sum(-1, keepdim=True)
    audio = slice(len(phonemes), None)
    assert torch.allclose(after[:, 1, audio], weighted[:, 1, audio], atol=1e-6)
    assert torch.allclose(after[:, 0], before[:, 0], atol=1e-6)
    assert torch.allclose(after[:, :, : len(phonemes)], before[:, :, : len(phonemes)], atol=1e-6)


def test_emphasis_reaches_a_synthesis_and_dose_one_does_not(
    pipeline: Pipeline, voice: Voice
) -> None:
    plain = say(pipeline, voice)
    assert np.array_equal(
        say(pipeline, voice, Emphasis(word="dear", dose=1.0)).tokens, plain.tokens
    )
    strong = say(pipeline, voice, Emphasis(word="dear", dose=1000.0, heads=((1, 0), (1, 1))))
    assert strong.latents.shape != plain.latents.shape or not np.allclose(
        strong.latents, plain.latents
    )


def test_energy_is_the_word_louder_by_so_many_decibels(pipeline: Pipeline, voice: Voice) -> None:
    plain, made = say(pipeline, voice), say(pipeline, voice, Prosody(word="dear", decibels=-6.0))
    quiet, loud = span(made, "dear"), span(plain, "dear")
    inner = slice(len(loud) // 4, 3 * len(loud) // 4)
    ratio = 20 * np.log10(np.abs(quiet[inner]).mean() / np.abs(loud[inner]).mean())
    assert ratio == pytest.approx(-6.0, abs=0.3)
    assert np.allclose(span(made, "Hello")[:-600], span(plain, "Hello")[:-600], atol=1e-5)


def test_pitch_is_the_f0_of_the_word(pipeline: Pipeline, voice: Voice) -> None:
    site = "decoder.f0"

    def f0(edits: object) -> Tensor:
        with record(pipeline.models.generator, site) as seen:
            say(pipeline, voice, edits)
        return seen[site][0][0]

    plain, raised = f0(None), f0(Prosody(word="dear", semitones=12.0))
    voiced = plain > 0
    change = torch.log2(raised[voiced] / plain[voiced])
    assert change.max() == pytest.approx(1.0, abs=1e-3)
    assert change.min() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "edit", [Prosody(word="dear", rate=0.5), Prosody(word="dear", pause_ms=200)]
)
def test_rate_and_pauses_make_room(pipeline: Pipeline, voice: Voice, edit: Prosody) -> None:
    plain, made = say(pipeline, voice), say(pipeline, voice, edit)
    assert np.array_equal(made.tokens, plain.tokens)
    longer = span(plain, "dear").size / plain.sample_rate if edit.rate != 1 else 0.2
    assert made.seconds == pytest.approx(plain.seconds + longer, abs=0.03)
    stream = pipeline.stream(TEXT, voice, SynthesisOptions(seed=3, max_tokens=40, edits=edit))
    assert sum(map(len, stream)) / made.sample_rate == pytest.approx(made.seconds, abs=0.05)


def test_concepts_move_vectors_and_keep_their_length(pipeline: Pipeline, voice: Voice) -> None:
    name = "blocks.0.resid"
    direction = tuple(float(x) for x in torch.randn(32, generator=torch.Generator().manual_seed(0)))
    with record(pipeline.models.gpt, name) as seen:
        say(pipeline, voice)
    concept = Concept(name="c", site=f"gpt.{name}", direction=direction, amount=2.0)
    with record(pipeline.models.gpt, name) as moved:
        say(pipeline, voice, concept)
    before, after = seen[name][0], moved[name][0]
    assert not torch.allclose(before, after)
    assert torch.allclose(before.norm(dim=-1), after.norm(dim=-1), rtol=1e-4)


def test_saved_composed_and_replayed(pipeline: Pipeline, voice: Voice, tmp_path: Path) -> None:
    edits = Edits(model="tiny") + Prosody(word="dear", rate=0.8) + Emphasis(word=0, dose=3.0)
    edits.save(tmp_path / "edits.json")
    read = steer.load(tmp_path / "edits.json")
    assert read == edits
    made, again = say(pipeline, voice, edits), say(pipeline, voice, read)
    assert np.array_equal(made.audio, again.audio)
    assert steer.parse(made.report()["edits"]).edits == edits.edits
    assert [edit.kind for edit in edits.without(0).edits] == ["emphasis"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (HeadGain(site="gpt.blocks.0.attn.zz", head=0), "did you mean gpt.blocks.0.attn.z"),
        (HeadGain(site="gpt.blocks.0.attn.z", head=7), "heads 0 to 1, not 7"),
        (HeadGain(site="gpt.blocks.0.resid", head=0), "attn.z"),
        (Emphasis(word="dear", dose=2.0, heads=((9, 0),)), "no head 9.0"),
        (Prosody(word="deer", rate=2.0), "'dear'"),
        (Prosody(word="dear", occurrence=2, rate=2.0), "1 times"),
        (Prosody(word=99, rate=2.0), "0 to 4, not 99"),
        (Edits(model="mini"), "made for the model 'mini'"),
        (Concept(name="c", site="speaker", direction=(1.0,)), "1 numbers"),
    ],
)
def test_what_does_not_fit_is_said(
    pipeline: Pipeline, voice: Voice, edit: object, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        say(pipeline, voice, edit)


def test_files_that_are_no_edits(tmp_path: Path) -> None:
    file = tmp_path / "edits.json"
    for text, said in (
        ("{", "not JSON"),
        ('{"edits": [{"kind": "x"}]}', "edits.0"),
        ("3", "holds no"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            steer.load(file)
    with pytest.raises(ValueError, match="voxray.steer"):
        SynthesisOptions(edits=3)


def test_a_batch_is_edited_as_each_text_alone(pipeline: Pipeline, voice: Voice) -> None:
    from voxray.batching import Order, speak_many

    edit = HeadGain(site="gpt.blocks.1.attn.z", head=1, gain=-10.0)
    options = SynthesisOptions(seed=3, max_tokens=20, edits=edit, watch=None)
    orders = [Order(text, voice, options) for text in (TEXT, "Good morning.")]
    for order, made in zip(orders, speak_many(pipeline, orders), strict=True):
        alone = pipeline.synthesise(order.text, voice, options)
        plain = pipeline.synthesise(order.text, voice, options.model_copy(update={"edits": None}))
        assert np.array_equal(made.tokens, alone.tokens)
        assert not np.array_equal(made.tokens, plain.tokens)


def test_loops_are_seen() -> None:
    assert steer.looping([1, 2, 3, *[7, 8] * 5])
    assert not steer.looping(list(range(40)))
    assert steer.loop_share([*range(20), *[5] * 20]) == pytest.approx(0.5, abs=0.1)


def test_repetition_acts_in_loops_only(pipeline: Pipeline, voice: Voice) -> None:
    plain = say(pipeline, voice)
    assert not any(steer.looping(plain.tokens[:n]) for n in range(len(plain.tokens)))
    edit = Repetition(heads=((0, 0), (1, 1)), gain=-10.0)
    assert np.array_equal(say(pipeline, voice, edit).tokens, plain.tokens)
    always = edit.model_copy(update={"always": True})
    assert not np.array_equal(say(pipeline, voice, always).tokens, plain.tokens)


def test_a_built_in_concept_is_loaded_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = steer.Concept(name="calm", site="speaker", direction=(1.0, 2.0))
    steer.Edits(edits=(edit,)).save(tmp_path / "calm.json")
    monkeypatch.setattr(edits_module, "BUILTIN", tmp_path)
    assert steer.load("calm").edits == (edit,)
    with pytest.raises(FileNotFoundError, match="no such file"):
        steer.load("rage")
