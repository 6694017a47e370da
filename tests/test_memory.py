"""A voice's memory on its way: files, averages, consent, streams, batches, other models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from conftest import with_memory
from voxray.bundle import Bundle
from voxray.joining import PieceDecoder
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.text import TextPipeline
from voxray.trust.consent import voice_id
from voxray.voice import MOST_TOKENS, Voice

TEXT = "One two three four five six."


@pytest.fixture(scope="module")
def pipeline(remembering: Bundle) -> Pipeline:
    return Pipeline(remembering, TextPipeline())


def options() -> SynthesisOptions:
    return SynthesisOptions(seed=5, max_tokens=60)


def test_a_recording_is_remembered(remembering: Bundle, tiny: Bundle, recording: Path) -> None:
    voice = Voice.from_file(recording, model=remembering)
    memory = voice.memory
    assert memory is not None and memory.tokens.shape[1] > 25
    assert memory.latents.shape == (1, 96, 2 * memory.tokens.shape[1])
    assert Voice.from_file(recording, model=tiny).memory is None


def test_memory_survives_its_file(voice: Voice, tmp_path: Path) -> None:
    given = with_memory(voice)
    given.save(tmp_path / "v.safetensors")
    again = Voice.load(tmp_path / "v.safetensors")
    for name in ("memory_tokens", "memory_latents"):
        one, other = getattr(again, name), getattr(given, name)
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_damaged_memories_are_refused(voice: Voice, tmp_path: Path) -> None:
    path, given = tmp_path / "v.safetensors", with_memory(voice)
    assert given.memory_tokens is not None and given.memory_latents is not None
    wrong = {
        "alone": replace(given, memory_latents=None),
        "short": replace(given, memory_latents=given.memory_latents[:, :-1]),
        "flat": replace(given, memory_latents=given.memory_latents.flatten()),
        "inf": replace(given, memory_latents=given.memory_latents / 0),
        "negative": replace(given, memory_tokens=given.memory_tokens - 1024),
        "floats": replace(given, memory_tokens=given.memory_tokens.float()),
    }
    for damaged in wrong.values():
        damaged.save(path)
        with pytest.raises(ValueError, match="remembered of the reference is damaged"):
            Voice.load(path)
    given.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        assert "memory_tokens" in file.keys()  # noqa: SIM118


def test_another_models_memory_is_refused(pipeline: Pipeline, voice: Voice) -> None:
    given = with_memory(voice)
    assert given.memory_tokens is not None and given.memory_latents is not None
    for wrong in (
        replace(given, memory_latents=given.memory_latents[:40]),
        replace(given, memory_tokens=given.memory_tokens + 1024),
    ):
        with pytest.raises(ValueError, match="made for another model"):
            pipeline.synthesise(TEXT, wrong, options())


def test_averaged_voices_join_what_they_remember(voice: Voice) -> None:
    part = MOST_TOKENS // 3
    voices = [with_memory(voice, seed, part + 50) for seed in (1, 2, 3)]
    joined = voices[0].averaged(voices[1:])
    tokens, latents = joined.memory_tokens, joined.memory_latents
    assert tokens is not None and latents is not None
    assert len(tokens) == 3 * part and latents.shape == (96, 6 * part)
    second = voices[1].memory_tokens
    assert second is not None and torch.equal(tokens[part : 2 * part], second[:part])
    assert voice.averaged([voice]).memory is None


def test_what_is_remembered_is_part_of_whose_voice_it_is(voice: Voice) -> None:
    ids = {voice_id(v) for v in (voice, with_memory(voice), with_memory(voice, 3))}
    assert len(ids) == 3
    assert voice_id(replace(with_memory(voice), name="else")) == voice_id(with_memory(voice))


def test_chunks_are_the_whole(remembering: Bundle, voice: Voice) -> None:
    """With room on both sides a chunk's run hears what the whole run hears."""
    ids, tokens = [5, 9, 7, 8, 6, 11], torch.arange(70).tolist()
    path = [i * 6 // 70 for i in range(70)]
    made = {}
    for steps in ((0, 70), (0, 24, 48, 70)):
        sound = PieceDecoder(remembering, ids, voice.speaker, 3, memory=with_memory(voice).memory)
        chunks = [
            sound.decode(tokens, a, b, last=b == 70, path=path) for a, b in zip(steps, steps[1:])
        ]
        made[steps] = np.concatenate(sound.latents, axis=1), np.concatenate(chunks)
    (whole, audio), (chunked, pieces) = made.values()
    assert audio.shape == pieces.shape
    # the tiny encoders see the whole piece: edges differ a little, with or without a memory
    apart = np.abs(whole - chunked).mean() / np.abs(whole).mean()
    assert apart < 0.05


def test_streams_and_batches_remember(pipeline: Pipeline, voice: Voice) -> None:
    voices = [with_memory(voice), with_memory(voice, 3), voice]
    alone = [pipeline.synthesise(TEXT, one, options()) for one in voices]
    assert all(np.array_equal(a.tokens, alone[0].tokens) for a in alone)
    assert not np.array_equal(alone[0].audio, alone[1].audio)
    assert not np.array_equal(alone[0].audio, alone[2].audio)
    streams = [pipeline.stream(TEXT, one, options(), shared=True) for one in voices]
    for stream, one in zip(streams, voices, strict=True):
        own = pipeline.stream(TEXT, one, options())
        assert np.array_equal(np.concatenate(list(stream)), np.concatenate(list(own)))


def test_a_conversion_remembers(pipeline: Pipeline, voice: Voice, recording: Path) -> None:
    from voxray import audio

    wave, rate = audio.read_audio(recording)
    one, other = (pipeline.convert(wave, rate, v, options()) for v in (voice, with_memory(voice)))
    assert np.array_equal(one.tokens, other.tokens) and not np.array_equal(one.audio, other.audio)
