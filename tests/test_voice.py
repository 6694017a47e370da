"""Voices: what a recording must be, what is warned of, and files that keep their word."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import speechlike
from voxray.bundle import Bundle
from voxray.voice import Voice, VoiceWarning, find, prepare


def write(path: Path, wave: np.ndarray, rate: int = 16_000) -> Path:
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return path


def test_a_voice_from_a_recording(tiny: Bundle, recording: Path) -> None:
    voice = Voice.from_file(recording, model=tiny)
    assert voice.name == "someone" and voice.speaker.shape == (256,)
    assert not voice.prompt_tokens and voice.recording["snr_db"] > 20
    assert voice.model == "tiny"


def test_a_transcript_adds_the_manner(tiny: Bundle, recording: Path) -> None:
    voice = Voice.from_file(recording, "some words", model=tiny)
    assert voice.prompt_tokens and voice.prompt_phonemes and voice.fingerprint
    with pytest.raises(ValueError, match="transcript"):
        Voice.from_file(recording, style=recording, model=tiny)


def test_a_voice_survives_its_file(tiny: Bundle, recording: Path, tmp_path: Path) -> None:
    voice = Voice.from_file(recording, "some words", model=tiny, licence="CC0", card="A test.")
    voice.save(tmp_path / "v.safetensors")
    again = Voice.load(tmp_path / "v.safetensors")
    assert torch.equal(again.speaker, voice.speaker)
    assert again.details() == voice.details()
    assert (again.prompt_tokens, again.prompt_phonemes) == (
        voice.prompt_tokens,
        voice.prompt_phonemes,
    )
    assert find(str(tmp_path / "v.safetensors")).name == "someone"


def test_damaged_voice_files_are_refused(voice: Voice, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    voice.save(path)
    whole = path.read_bytes()
    for data in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="voice file"):
            Voice.load(path)
    with pytest.raises(FileNotFoundError):
        Voice.load(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="safetensors"):
        voice.save(tmp_path / "v.wav")
    with pytest.raises(OSError):
        voice.save(tmp_path / "no" / "v.safetensors")


def test_recordings_that_make_no_voice(tmp_path: Path) -> None:
    hiss = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    for wave, said in (
        (speechlike(0.5), "0.50 s"),
        (np.zeros(48_000, np.float32), "silen"),
        (0.1 * hiss, "noise|speech"),
    ):
        with pytest.raises(ValueError, match=said):
            prepare(wave, 16_000, "x.wav")


def test_a_noisy_recording_is_warned_of_with_the_figure(tiny: Bundle, tmp_path: Path) -> None:
    path = write(tmp_path / "noisy.wav", speechlike(4.0, noise_db=-28.0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        voice = Voice.from_file(path, model=tiny)
    said = [str(w.message) for w in caught if w.category is VoiceWarning]
    assert any("dB signal to noise" in line for line in said)
    assert voice.warnings == tuple(said)


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 JPEG", b"", b"RIFF\x10\0\0\0WAVE"])
def test_files_that_are_no_audio(tiny: Bundle, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="x.wav"):
        Voice.from_file(path, model=tiny)
    with pytest.raises(ValueError, match="folder"):
        Voice.from_file(tmp_path, model=tiny)


def test_audio_that_is_broken(tiny: Bundle, tmp_path: Path) -> None:
    broken = speechlike(3.0)
    broken[100] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        Voice.from_file(write(tmp_path / "nan.wav", broken), model=tiny)
    with pytest.raises(ValueError):
        Voice.from_file(write(tmp_path / "one.wav", broken[:1]), model=tiny)


def test_voices_that_are_nowhere() -> None:
    for wrong in ("no such voice", "a\0b", 3):
        with pytest.raises(ValueError):
            find(wrong)  # type: ignore[arg-type]
