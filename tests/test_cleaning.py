"""What a noisy reference is heard through: the denoiser, its training, and where `Voice` uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from conftest import speechlike
from voxray import audio, cleaning
from voxray.cleaning import cleaned
from voxray.commands import app
from voxray.models.denoiser import BINS, Denoiser, spectrum, wave_of
from voxray.train.noises import spoiled
from voxray.train.prepare import add_pitch, prepare
from voxray.voice import CLEANED_DB, Voice


def noisy(seconds: float = 4.0, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Something like speech at 16 kHz, and the same under white noise."""
    clean = speechlike(seconds)
    noise = np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)
    return clean, clean + share * float(clean.std()) * noise


def test_noise_is_taken_away_and_clean_speech_is_left() -> None:
    clean, worse = noisy()
    better = cleaned(worse, 16_000)
    assert better.dtype == np.float32 and len(better) == len(worse)
    assert audio.snr_db(better, 16_000) > audio.snr_db(worse, 16_000) + 5
    assert np.square(better - clean).mean() < 0.7 * np.square(worse - clean).mean()
    same = cleaned(clean, 16_000)
    assert np.square(same - clean).mean() < 0.05 * np.square(clean).mean()


def test_any_rate_keeps_its_length_and_what_lies_above_12_khz_goes_with_its_noise() -> None:
    clean, _ = noisy(2.0)
    high = audio.resample(clean, 16_000, 48_000)
    noise = np.random.default_rng(1).standard_normal(len(high)).astype(np.float32)
    worse = high + 0.3 * float(high.std()) * noise
    better = cleaned(worse, 48_000)
    assert len(better) == len(worse)

    def above(wave: np.ndarray) -> float:
        power = np.square(np.abs(np.fft.rfft(wave)))
        return float(power[round(len(power) * 13 / 24) :].sum())

    assert above(better) < 0.5 * above(worse)


def test_gains_lie_between_nothing_and_all_and_waves_come_back() -> None:
    wave = torch.from_numpy(speechlike(1.0))[None]
    bins = spectrum(wave)
    gains = Denoiser()(bins.abs())
    assert gains.shape == bins.shape and bins.shape[2] == BINS
    assert float(gains.min()) >= 0.0 and float(gains.max()) <= 1.0
    assert torch.allclose(wave_of(bins, wave.shape[1]), wave, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_made_noise_is_finite_repeatable_and_as_long(seed: int) -> None:
    wave = np.resize(speechlike(1.0), 24_000).astype(np.float32)
    others = [np.roll(wave, 999), wave[::-1].copy()]
    made = [spoiled(wave, others, np.random.default_rng(seed)) for _ in range(2)]
    assert np.array_equal(*made)
    assert len(made[0]) == len(wave) and np.isfinite(made[0]).all()
    assert made[0].dtype == np.float32


def test_a_voice_hears_a_noisy_recording_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, worse = noisy()
    heard: list[int] = []

    def known(wave: np.ndarray, rate: int) -> np.ndarray:
        heard.append(len(wave))
        return cleaned(wave, rate)

    monkeypatch.setattr("voxray.voice.cleaned", known)
    for name, wave in (("clean", clean), ("noisy", worse)):
        audio.write_audio(tmp_path / f"{name}.wav", wave, 16_000)
    assert audio.snr_db(worse, 16_000) < CLEANED_DB <= audio.snr_db(clean, 16_000)
    assert Voice.from_file(tmp_path / "clean.wav").recording["cleaned"] == 0.0
    assert not heard
    with pytest.warns(UserWarning, match="signal to noise"):
        better = Voice.from_file(tmp_path / "noisy.wav")
    assert len(heard) == 1
    with pytest.warns(UserWarning, match="signal to noise"):
        raw = Voice.from_file(tmp_path / "noisy.wav", clean=False)
    assert len(heard) == 1
    assert (better.recording["cleaned"], raw.recording["cleaned"]) == (1.0, 0.0)
    assert not torch.equal(better.speaker, raw.speaker)


def test_it_is_trained_by_a_command_and_goes_on(tmp_path: Path) -> None:
    lines = ["path\tspeaker\tlanguage\ttext\tsplit"]
    for i in range(4):
        audio.write_audio(tmp_path / f"{i}.wav", speechlike(1.6 + 0.2 * i), 16_000)
        lines.append(f"{i}.wav\ts{i % 2}\ten\tGood morning.\t{'dev' if i == 3 else 'train'}")
    (tmp_path / "people.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepare([tmp_path / "people.tsv"], tmp_path / "data")
    add_pitch(tmp_path / "data")
    for steps in (2, 3):
        settings = {"steps": steps, "batch": 2, "frames": 40, "validate_every": 2, "log_every": 1}
        (tmp_path / "c.json").write_text(json.dumps(settings), encoding="utf-8")
        given = ["train", "denoiser", str(tmp_path / "data"), "-o", str(tmp_path / "run")]
        done = CliRunner().invoke(app, [*given, "-c", str(tmp_path / "c.json")])
        assert done.exit_code == 0, done.output
    log = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
    assert '"step": 3' in log and '"validation"' in log
    state = safetensors.torch.load_file(tmp_path / "run" / "denoiser.safetensors")
    network = Denoiser()
    network.load_state_dict({k: v.float() for k, v in state.items()})
    assert len(cleaned(speechlike(1.0), 16_000, network.eval())) == 16_000
    assert cleaning.denoiser().state_dict().keys() == state.keys()
