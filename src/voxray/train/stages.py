"""The stages of `voxray train`, each from what the one before left in the store or in `runs/`.

content: hidden.f16 -> encoder, quantiser -> tokens.i16, labels of people's clips by forced alignment.
generator: posterior and decoder in OUT/copy; prior, flow, speaker in OUT/prior; all of it in OUT/joint; the
decoder on what the prior says in OUT/polish, and alone in OUT/decoder. A part of no steps is left out.
gpt: tokens and labels -> GPT. clarity: a model's GPT by what its own ear hears. denoiser: what noisy references are heard through. bundle: the three runs -> a folder that speaks.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch

from voxray.bundle import Bundle
from voxray.config import BundleConfig
from voxray.models.generator import Generator
from voxray.models.posterior_mel import MelPosterior
from voxray.packaged import DEFAULT, home
from voxray.text import TextPipeline
from voxray.tokens.content import ContentEncoder, Readout
from voxray.tokens.phones import PhoneTable

from .article import ArticleTraining, train_article
from .autoencoder import AutoencoderTraining, train_autoencoder
from .clarity import ClarityTraining, train_clarity
from .content import (
    PAUSE_IDS,
    SILENCE,
    ContentTraining,
    Frames,
    cache_hidden,
    train_content,
    write_tokens,
)
from .decoder import DecoderTraining, train_decoder
from .denoiser import DenoiserTraining, train_denoiser
from .feed import place
from .finished import settings_of, state_of
from .gpt import GPTTraining, train_gpt
from .joint import JointTraining, train_joint
from .label import align_people
from .polish import PolishTraining, train_polish
from .prior import PriorTraining, train_prior
from .run import Say, Schedule
from .store import Store
from .training_file import JUDGE, TRAINING_FILE
from .warmstart import content_from_whisper

Settings = TypeVar("Settings", bound=Schedule)
TAKES = 3  # of a sentence that nobody hears while it is made
TEMPERATURE = 0.6
REPETITION_PENALTY = (
    1.0  # 1.35 loses about twice as many words (docs/training-log.md, seventh session)
)


def run_content(data: Path, out: Path, settings: str, say: Say, start: Path | None = None) -> None:
    """Train the tokens; writes them, and labels of clips without exact times, into the store."""
    config = ContentTraining.model_validate_json(settings)
    torch.manual_seed(config.seed)  # initial weights only
    encoder = content_from_whisper(start, config.model) if start else ContentEncoder(config.model)
    if not Store(data).whole("hidden.f16", "float16", 480, config.model.width):
        say("lower blocks of the content encoder, once for every clip")
        cache_hidden(data, encoder.eval().to(place(config)), config=config)
    encoder, quantiser, readout = train_content(data, out, encoder.train(), config, say)
    for module in (encoder, quantiser, readout):
        module.eval()
    scores = write_tokens(Frames(data, config.model.width), encoder, quantiser, readout)
    report = align_people(data, scores, SILENCE, PAUSE_IDS)
    for reason, count in sorted(report.items()):
        say(f"people's clips: {reason}: {count}")


def run_generator(
    data: Path, out: Path, copy: str, prior: str, say: Say, joint: str = "{}", polish: str = "{}",
    decoder: str = "{}",
) -> None:  # fmt: skip
    """Part 1, part 2 on the frozen latents of part 1, all of it together, then the decoder once more, and alone."""
    first = AutoencoderTraining.model_validate_json(copy)
    second = PriorTraining.model_validate_json(prior)
    third = JointTraining.model_validate_json(joint)
    fourth = PolishTraining.model_validate_json(polish)
    fifth = DecoderTraining.model_validate_json(decoder)
    model = train_autoencoder(data, out / "copy", first, say)
    model = train_prior(data, out / "prior", model, second, say)
    if third.steps:
        model = train_joint(data, out / "joint", model, third, say)
    if fourth.steps:
        model = train_polish(data, out / "polish", model, fourth, say)
    if fifth.steps:
        train_decoder(data, out / "decoder", model, fifth, say)


def run_gpt(data: Path, out: Path, settings: str, say: Say) -> None:
    """Phonemes to tokens."""
    train_gpt(data, out, GPTTraining.model_validate_json(settings), say)


def run_clarity(data: Path, out: Path, settings: str, say: Say, model: Path | None) -> None:
    """A model's GPT by what its own ear hears it say."""
    config = ClarityTraining.model_validate_json(settings)
    target = train_clarity(data, out, config, model, say)
    save_text_manifest(target)
    parts = home(model or DEFAULT) / TRAINING_FILE  # nothing in it has learnt
    if parts.is_file():
        beside = target / f".{TRAINING_FILE}.part"
        shutil.copyfile(parts, beside)
        beside.replace(target / TRAINING_FILE)
    say(f"the model: {target}")


def run_article(data: Path, out: Path, settings: str, say: Say) -> None:
    """The `article` preset, all of it."""
    train_article(data, out, ArticleTraining.model_validate_json(settings), say)


def run_denoiser(data: Path, out: Path, settings: str, say: Say) -> None:
    """What noisy references are heard through."""
    train_denoiser(data, out, DenoiserTraining.model_validate_json(settings), say)


def save_model(runs: Path, target: Path) -> None:
    """Join finished runs into a folder that speaks and can be trained on."""
    bundle_runs(runs).save(target)
    save_training_parts(runs, target)
    save_text_manifest(target)


def bundle_runs(runs: Path, name: str = "mini", training: str = "") -> Bundle:
    """The averaged weights of `runs/content`, `runs/gpt` and the last part of `runs/generator` that was
    trained, as one model.
    """
    content, gpt = runs / "content", runs / "gpt"
    last, kind = _last_part(runs / "generator")
    config = BundleConfig(
        name=name,
        content=settings_of(content, ContentTraining).model,
        generator=settings_of(last, kind).model,
        gpt=settings_of(gpt, GPTTraining).model,
        fingerprint=TextPipeline().fingerprint,
        temperature=TEMPERATURE,
        takes=TAKES,
        repetition_penalty=REPETITION_PENALTY,
        training=training,
    )
    bundle = Bundle.build(config)
    state = state_of(content)
    bundle.content.load_state_dict(state["content"])
    bundle.quantiser.load_state_dict(state["quantiser"])
    whole = Generator(config.generator)
    whole.load_state_dict(state_of(last)["generator"])
    if whole.hearing is not None and isinstance(whole.posterior, MelPosterior):
        whole.hearing.same_as(whole.posterior)
    whole.posterior = None
    bundle.generator.load_state_dict(whole.state_dict())
    bundle.generator.codebook.copy_(bundle.quantiser.codebook)
    bundle.gpt.load_state_dict(state_of(gpt)["gpt"])
    return bundle


def save_training_parts(runs: Path, target: Path) -> None:
    """Write `training.safetensors` beside a bundle's weights: posterior, readout and, where there were some, the
    discriminators, which only tuning and probing need; fp16. From the readout also `phones.safetensors`, by which the model hears what it said.
    """
    generator, content = state_of(_last_part(runs / "generator")[0]), state_of(runs / "content")
    state = {k: v for k, v in generator["generator"].items() if k.startswith("posterior.")}
    state |= {f"readout.{k}": v for k, v in content["readout"].items()}
    state |= {f"{JUDGE}{k}": v for k, v in generator.get("judge", {}).items()}
    readout = Readout(settings_of(runs / "content", ContentTraining).model)
    readout.load_state_dict(content["readout"])
    PhoneTable.of(readout.eval(), content["quantiser"]["codebook"]).save(target)
    halves = {k: v.half().contiguous() for k, v in state.items()}
    beside = target / f"{TRAINING_FILE}.part"
    beside.write_bytes(safetensors.torch.save(halves))
    beside.replace(target / TRAINING_FILE)


def save_text_manifest(target: Path) -> None:
    """Write `text.json` beside a bundle's weights: the text front end as it is now, and how it reads the probe
    sentences; `voxray text check` compares with it.
    """
    manifest = json.dumps(TextPipeline().manifest(), ensure_ascii=False, indent=1)
    beside = target / "text.json.part"
    beside.write_text(manifest + "\n", encoding="utf-8")
    beside.replace(target / "text.json")


def _last_part(generator: Path) -> tuple[Path, type[PriorTraining]]:
    """The folder and the settings' class of the last part that was trained."""
    parts = (("decoder", DecoderTraining), ("polish", PolishTraining), ("joint", JointTraining))
    for name, kind in parts:
        if (generator / name / "state.pt").is_file():
            return generator / name, kind
    return generator / "prior", PriorTraining
