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
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.text import TextPipeline, check
from voxray.train import stages
from voxray.train.autoencoder import AutoencoderTraining
from voxray.train.content import ContentTraining
from voxray.train.gpt import GPTTraining
from voxray.train.joint import JointTraining
from voxray.train.polish import PolishTraining
from voxray.train.prepare import add_pitch, prepare
from voxray.train.prior import PriorTraining
from voxray.train.refit import RefitTraining, refit_content
from voxray.train.tuning import training_parts
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
    parts = [part.model_dump_json() for part in (copy, prior, joint, polish)]
    stages.run_generator(store, runs / "generator", *parts[:2], said.append, *parts[2:])
    tuned = (runs / "generator" / "joint" / "log.jsonl").read_text(encoding="utf-8")
    assert '"kl"' in tuned and '"unexplained"' in tuned
    polished = (runs / "generator" / "polish" / "log.jsonl").read_text(encoding="utf-8")
    assert '"adversary"' in polished and '"discriminator"' in polished
    gpt = GPTTraining(model=GPT, batch=2, max_tokens=60, max_phones=40, **SHORT)
    stages.run_gpt(store, runs / "gpt", gpt.model_dump_json(), said.append)

    stages.bundle_runs(runs, "small").save(tmp_path / "model")
    stages.save_training_parts(runs, tmp_path / "model")
    stages.save_text_manifest(tmp_path / "model")
    bundle = Bundle.load(tmp_path / "model")
    posterior, readout = training_parts(tmp_path / "model", bundle)
    assert posterior is not None and readout is not None
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


def test_an_encoder_learns_new_clips_while_its_tokens_keep_their_meaning(
    store: Path, tmp_path: Path
) -> None:
    content = ContentTraining(model=CONTENT, batch_clips=2, crop_frames=60, free_steps=1, **SHORT)
    stages.run_content(store, tmp_path / "content", content.model_dump_json(), lambda line: None)
    encoder, quantiser, readout = stages.content_parts(tmp_path / "content")
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
