"""From recordings to a model that makes sound: every stage of `voxray train`, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, speechlike
from voxray import audio
from voxray.bundle import Bundle
from voxray.config import MelPosteriorConfig
from voxray.models.generator import Generator
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.text import TextPipeline, check
from voxray.tokens.content import ContentEncoder
from voxray.tokens.quantiser import Quantiser
from voxray.train import stages
from voxray.train.autoencoder import AutoencoderTraining
from voxray.train.content import ContentTraining
from voxray.train.decoder import DecoderTraining
from voxray.train.finished import content_parts
from voxray.train.gpt import GPTTraining
from voxray.train.joint import JointTraining
from voxray.train.label import check_stamp, stamp
from voxray.train.listening import Listener, words_loss
from voxray.train.polish import PolishTraining, train_polish
from voxray.train.prepare import add_pitch, prepare
from voxray.train.prior import PriorTraining
from voxray.train.refit import RefitTraining, refit_content
from voxray.train.restart import run_restart
from voxray.train.run import Schedule
from voxray.train.speakers import SpeakerTeacher, embed_speakers
from voxray.train.training_file import training_judge, training_parts
from voxray.voice import Voice

CODES = 16
CONTENT = TINY.content.model_copy(update={"codebook_size": CODES, "readout_width": 16})
GPT = TINY.gpt.model_copy(update={"codebook_size": CODES})
GENERATOR = TINY.generator.model_copy(
    update={
        "codebook_size": CODES,
        "posterior": MelPosteriorConfig(width=16, layers=1),
        "prior": TINY.generator.prior.model_copy(update={"memory_width": 128}),
    }
)
SHORT = {"steps": 3, "warmup": 1, "save_every": 2, "log_every": 1}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four recordings of two speakers, two of them with phonemes and times."""
    lines = ["path\tspeaker\tlanguage\ttext\tsplit"]
    for i in range(4):
        audio.write_audio(tmp_path / f"{i}.wav", speechlike(1.6 + 0.2 * i), 16_000)
        lines.append(f"{i}.wav\ts{i % 2}\ten\tGood morning.\t{'dev' if i == 3 else 'train'}")
    manifest = tmp_path / "people.tsv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = tmp_path / "data"
    assert prepare([manifest], folder)["kept"] == 4
    add_pitch(folder)
    ids = TextPipeline()("Good morning.", "en").ids
    rows = []
    for i in (0, 1, 3):
        ends = [round(80 * (k + 1) / len(ids)) for k in range(len(ids))]
        spans = list(zip([0, *ends[:-1]], ends))
        rows.append(json.dumps({"name": f"{i}.wav", "ids": ids, "spans": spans}) + "\n")
    (folder / "labels.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


def test_a_model_is_trained_joined_saved_and_speaks(store: Path, tmp_path: Path) -> None:
    runs, said = tmp_path / "runs", []
    content = ContentTraining(model=CONTENT, batch_clips=2, crop_frames=60, free_steps=1, **SHORT)
    stages.run_content(store, runs / "content", content.model_dump_json(), said.append)
    assert {"tokens.i16", "codebook.npy", "hidden.f16"} <= {p.name for p in store.iterdir()}
    assert any(line.startswith("people's clips") for line in said)

    copy = AutoencoderTraining(model=GENERATOR, batch=2, segment_frames=40, **SHORT)
    prior = PriorTraining(
        model=GENERATOR, batch=2, segment_tokens=20, freeze_text=True, validate_every=1, patience=1,
        **SHORT,
    )  # fmt: skip
    joint = JointTraining(model=GENERATOR, batch=2, segment_tokens=20, validate_every=1, **SHORT)
    polish = PolishTraining(model=GENERATOR, batch=2, segment_tokens=20, alone=1, **SHORT)
    larger = GENERATOR.model_copy(
        update={"decoder": TINY.generator.decoder.model_copy(update={"layers": 3, "speaker_width": 256})}
    )  # fmt: skip
    decoder = DecoderTraining(
        model=larger, batch=3, true=0.34, segment_tokens=20, alone=1, validate_every=1,
        compared=False, faithful=2.0, judge=str(runs / "generator" / "polish"), **SHORT,
    )  # fmt: skip
    parts = [part.model_dump_json() for part in (copy, prior, joint, polish, decoder)]
    stages.run_generator(store, runs / "generator", *parts[:2], said.append, *parts[2:])
    with pytest.raises(ValueError, match="none that the prior said"):
        only_true = decoder.model_copy(update={"true": 1.0}).model_dump_json()
        stages.run_generator(
            store, runs / "generator", *parts[:2], said.append, *parts[2:4], only_true
        )
    tuned = (runs / "generator" / "joint" / "log.jsonl").read_text(encoding="utf-8")
    assert '"kl"' in tuned and '"unexplained"' in tuned
    polished = (runs / "generator" / "polish" / "log.jsonl").read_text(encoding="utf-8")
    assert '"adversary"' in polished and '"discriminator"' in polished
    sounded = (runs / "generator" / "decoder" / "log.jsonl").read_text(encoding="utf-8")
    assert '"adversary"' in sounded and '"validation"' in sounded and '"faithful"' in sounded
    gpt = GPTTraining(model=GPT, batch=2, max_tokens=60, max_phones=40, **SHORT)
    stages.run_gpt(store, runs / "gpt", gpt.model_dump_json(), said.append)

    stages.bundle_runs(runs, "small").save(tmp_path / "model")
    stages.save_training_parts(runs, tmp_path / "model")
    stages.save_text_manifest(tmp_path / "model")
    bundle = Bundle.load(tmp_path / "model")
    assert len(bundle.generator.decoder.blocks) == 3  # type: ignore[arg-type]
    posterior, readout = training_parts(tmp_path / "model", bundle)
    assert posterior is not None and readout is not None
    assert training_judge(tmp_path / "model", bundle) is not None
    assert torch.isfinite(posterior.synthesis).all()
    assert bundle.fingerprint == TextPipeline().fingerprint
    assert check(tmp_path / "model" / "text.json").same
    assert bundle.generator.codebook.abs().sum() > 0
    voice = Voice("nobody", torch.zeros(256))
    pipeline = Pipeline(bundle, TextPipeline())
    made = pipeline.synthesise("Hi.", voice, SynthesisOptions(seed=1))
    assert made.model == "small" and len(made.audio) > 0
    assert {"latents.f16"} <= {p.name for p in store.iterdir()}
    hearing = bundle.generator.hearing
    assert hearing is not None
    assert torch.allclose(hearing.analysis, posterior.analysis, rtol=2e-3, atol=2e-3)
    heard = Voice.heard("somebody", speechlike(2.0), 16_000, bundle)
    assert heard.memory is not None and heard.memory.frames == 2 * heard.memory.tokens.shape[1]
    other = pipeline.synthesise("Hi.", heard, SynthesisOptions(seed=1))
    assert not np.array_equal(other.audio, made.audio)


def test_a_model_is_taken_apart_and_trained_on(store: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    content = ContentTraining(model=CONTENT, batch_clips=2, crop_frames=60, free_steps=1, **SHORT)
    stages.run_content(store, runs / "content", content.model_dump_json(), lambda line: None)
    copy = AutoencoderTraining(model=GENERATOR, batch=2, segment_frames=40, **SHORT)
    prior = PriorTraining(model=GENERATOR, batch=2, segment_tokens=20, **SHORT)
    parts = [copy.model_dump_json(), prior.model_dump_json()]
    none = ['{"steps": 0}', '{"steps": 0}']
    stages.run_generator(store, runs / "generator", *parts, lambda line: None, *none)
    gpt = GPTTraining(model=GPT, batch=2, max_tokens=60, max_phones=40, **SHORT)
    stages.run_gpt(store, runs / "gpt", gpt.model_dump_json(), lambda line: None)
    first = stages.bundle_runs(runs, "small")
    first.save(tmp_path / "model")
    stages.save_training_parts(runs, tmp_path / "model")

    again, lines = tmp_path / "again", []
    (store / "hidden.f16").unlink()
    heard = {name: (store / name).read_bytes() for name in ("tokens.i16", "latents.f16")}
    people = (store / "labels_people.jsonl").read_text(encoding="utf-8")
    run_restart(store, again, tmp_path / "model", say=lines.append)
    assert (store / "said.i16").is_file() and not (store / "hidden.f16").exists()
    assert any("as recorded" in line for line in lines)
    assert (store / "labels_people.jsonl").read_text(encoding="utf-8") == people
    tokens = [
        np.frombuffer(x, "<i2") for x in (heard["tokens.i16"], (store / "tokens.i16").read_bytes())
    ]
    assert (tokens[0] == tokens[1]).mean() > 0.9
    latents = [
        np.frombuffer(x, "<f2")
        for x in (heard["latents.f16"], (store / "latents.f16").read_bytes())
    ]
    assert np.allclose(*latents, atol=0.02)
    same = stages.bundle_runs(again, "small")
    for part in ("gpt", "generator", "content"):
        known = getattr(first, part).state_dict()
        for name, value in getattr(same, part).state_dict().items():
            assert torch.allclose(value, known[name], rtol=2e-3, atol=2e-3), (part, name)
    with pytest.raises(FileExistsError, match="another folder"):
        run_restart(store, again, tmp_path / "model")

    still = {"steps": 0, "model": json.loads(GENERATOR.model_dump_json())}
    polish = PolishTraining(
        model=GENERATOR, batch=2, segment_tokens=20, alone=1, words=1.0, content=str(again / "content"),
        prior_scale=0.5, anchor=1.0, people=0.5, **SHORT,
    )  # fmt: skip
    rows = [json.dumps(still)] * 3 + [polish.model_dump_json()]
    stages.run_generator(store, again / "generator", *rows[:2], lambda line: None, *rows[2:])
    log = (again / "generator" / "polish" / "log.jsonl").read_text(encoding="utf-8")
    assert '"words"' in log and '"anchor"' in log
    replayed = polish.model_copy(update={"replay": True, "words": 0.0})
    train_polish(store, tmp_path / "replayed", Generator(GENERATOR), replayed)
    log = (tmp_path / "replayed" / "log.jsonl").read_text(encoding="utf-8")
    assert '"adversary"' in log and '"anchor"' in log
    assert stages.bundle_runs(again).config.generator == GENERATOR

    (tmp_path / "model" / "training.safetensors").unlink()
    with pytest.raises(ValueError, match="training.safetensors"):
        run_restart(store, tmp_path / "third", tmp_path / "model")


def test_words_are_lost_where_another_thing_is_said() -> None:
    listener = Listener(ContentEncoder(CONTENT), Quantiser(CONTENT))
    wave = torch.from_numpy(np.stack([speechlike(1.6), speechlike(1.6)[::-1].copy()]))
    wave = torch.nn.functional.interpolate(wave[:, None], scale_factor=1.5)[:, 0].requires_grad_()
    loss = words_loss(listener, wave, wave.detach())
    other = words_loss(listener, wave.flip(0), wave.detach())
    assert float(loss) < 1e-5 < float(other)
    other.backward()
    assert wave.grad is not None and bool(wave.grad.abs().sum() > 0)
    assert not any(p.requires_grad for p in listener.parameters())


def test_words_of_one_speaker_are_said_in_the_voice_of_another(store: Path, tmp_path: Path) -> None:
    content = ContentTraining(model=CONTENT, batch_clips=2, crop_frames=60, free_steps=1, **SHORT)
    stages.run_content(store, tmp_path / "content", content.model_dump_json(), lambda line: None)
    torch.save(
        {"model_state": {**SpeakerTeacher().state_dict(), "similarity_weight": torch.ones(1)}},
        tmp_path / "pretrained.pt",
    )
    embed_speakers(store, tmp_path / "pretrained.pt", Schedule())
    polish = PolishTraining(
        model=GENERATOR, batch=2, segment_tokens=40, alone=1, words=1.0, likeness=1.0,
        content=str(tmp_path / "content"), teacher=str(tmp_path / "pretrained.pt"),
        prior_scale=0.5, anchor=1.0, people=0.5, crossed=2, **SHORT,
    )  # fmt: skip
    for name, config in (
        ("plain", polish),
        ("recorded", polish.model_copy(update={"replay": True})),
    ):
        train_polish(store, tmp_path / name, Generator(GENERATOR), config)
        rows = (tmp_path / name / "log.jsonl").read_text(encoding="utf-8")
        assert '"crossed words"' in rows and '"crossed likeness"' in rows
    deaf = polish.model_copy(update={"words": 0.0})
    with pytest.raises(ValueError, match="nobody listens"):
        train_polish(store, tmp_path / "deaf", Generator(GENERATOR), deaf)


def test_polishing_for_words_needs_somebody_who_hears_them(store: Path, tmp_path: Path) -> None:
    content = ContentTraining(model=CONTENT, batch_clips=2, crop_frames=60, free_steps=1, **SHORT)
    stages.run_content(store, tmp_path / "content", content.model_dump_json(), lambda line: None)
    polish = PolishTraining(model=GENERATOR, batch=2, segment_tokens=20, words=1.0, **SHORT)
    with pytest.raises(ValueError, match="content"):
        train_polish(store, tmp_path / "polish", Generator(GENERATOR), polish)


def test_labels_of_another_front_end_are_refused(store: Path, tmp_path: Path) -> None:
    stamp(store)
    check_stamp(store)
    (store / "text.json").write_text('{"fingerprint": "0123"}', encoding="utf-8")
    gpt = GPTTraining(model=GPT, batch=2, max_tokens=60, max_phones=40, **SHORT)
    with pytest.raises(ValueError, match="front end 0123, this one is"):
        stages.run_gpt(store, tmp_path / "gpt", gpt.model_dump_json(), lambda line: None)
    content = ContentTraining(model=CONTENT, batch_clips=2, crop_frames=60, **SHORT)
    with pytest.raises(ValueError, match="voxray text check"):
        stages.run_content(
            store, tmp_path / "content", content.model_dump_json(), lambda line: None
        )


def test_an_encoder_learns_new_clips_while_its_tokens_keep_their_meaning(
    store: Path, tmp_path: Path
) -> None:
    content = ContentTraining(model=CONTENT, batch_clips=2, crop_frames=60, free_steps=1, **SHORT)
    stages.run_content(store, tmp_path / "content", content.model_dump_json(), lambda line: None)
    encoder, quantiser, readout = content_parts(tmp_path / "content")
    book = quantiser.codebook.clone()
    before = [p.clone() for p in encoder.parameters()]
    config = RefitTraining(model=CONTENT, rounds=2, batch_clips=2, crop_frames=60, **SHORT)
    lines: list[str] = []
    refit_content(
        store, tmp_path / "refit", encoder, quantiser, readout, lambda e: e.speaker.endswith("s0"), config,
        lines.append,
    )  # fmt: skip
    assert torch.equal(quantiser.codebook, book)
    assert any(not torch.equal(p, q) for p, q in zip(before, encoder.parameters(), strict=True))
    assert sum(line.startswith("round") for line in lines) == 2


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train that stage first"):
        stages.bundle_runs(tmp_path)
