"""Reading what users bring, writing what they get, and judging recordings."""

from __future__ import annotations

import csv
import errno
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxray import audio
from voxray.audio import files

RATE = 16_000
QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CORPUS = Path(__file__).parents[2] / "shared" / "speech"


def tone(seconds: float = 1.0, hz: float = 220.0, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def talk(seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """Something like speech: gliding harmonics in syllables of uneven length, with pauses."""
    dice = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * RATE:
        count = int(dice.uniform(0.12, 0.3) * RATE)
        pitch = np.linspace(dice.uniform(100, 160), dice.uniform(90, 170), count)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.hanning(count)
        pieces += [0.2 * voice, np.zeros(int(dice.uniform(0.03, 0.15) * RATE))]
    return np.concatenate(pieces)[: int(seconds * RATE)].astype(np.float32)


def active_power(wave: np.ndarray) -> float:
    """Power of the frames within 15.9 dB of their own mean, as ITU-T P.56 gates."""
    power = np.square(wave[: len(wave) // 320 * 320].reshape(-1, 320).astype(float)).mean(axis=1)
    level = power.mean()
    for _ in range(20):
        level = power[power >= level * 10**-1.59].mean()
    return float(level)


def with_noise(wave: np.ndarray, snr: float, noise: np.ndarray) -> np.ndarray:
    scale = np.sqrt(active_power(wave) / np.square(noise).mean() / 10 ** (snr / 10))
    return (wave + scale * noise).astype(np.float32)


# Reading


def test_reads_any_rate_and_channels_as_mono(tmp_path: Path) -> None:
    stereo = np.stack([tone(rate=44_100), np.zeros(44_100, np.float32)], axis=1)
    soundfile.write(tmp_path / "a.flac", stereo, 44_100)
    wave, rate = audio.read_audio(tmp_path / "a.flac")
    assert rate == 44_100 and wave.shape == (44_100,) and wave.dtype == np.float32
    assert np.allclose(wave, stereo[:, 0] / 2, atol=1e-4)


def test_opposed_channels_do_not_cancel(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), -tone()], axis=1), RATE)
    assert audio.rms_db(audio.read_audio(tmp_path / "a.wav")[0]) > -20


def test_reads_only_the_beginning_if_asked(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.0), RATE)
    assert len(audio.read_audio(tmp_path / "a.wav", limit_seconds=0.5)[0]) == RATE // 2


def _jpeg(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500))


def _cut(path: Path) -> None:
    soundfile.write(path, tone(), RATE)
    path.write_bytes(path.read_bytes()[:9000])


def _cut_header(path: Path) -> None:
    soundfile.write(path, tone(), RATE)
    path.write_bytes(path.read_bytes()[:20])


def _nan(path: Path) -> None:
    wave = tone()
    wave[100] = np.nan
    soundfile.write(path, wave, RATE, subtype="FLOAT")


BAD = {
    "folder": (lambda path: path.mkdir(), "folder"),
    "jpeg": (_jpeg, "JPEG"),
    "cut": (_cut, "cut short"),
    "header": (_cut_header, "cut short"),
    "nan": (_nan, "NaN"),
    "nothing": (lambda path: path.write_bytes(b""), "empty"),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), RATE), "empty"),
    "one sample": (lambda path: soundfile.write(path, np.ones(1) / 2, RATE), "1 sample "),
    "text": (lambda path: path.write_text("hello " * 99), "cannot be read"),
    "integers": (
        lambda path: soundfile.write(path, tone() * 32768, RATE, subtype="FLOAT"),
        "32768",
    ),
    "slow": (lambda path: soundfile.write(path, tone(), 100), "sample rate"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    make, words = BAD[case]
    make(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=words) as caught:
        audio.read_audio(tmp_path / "a.wav")
    assert "\n" not in str(caught.value) and "a.wav" in str(caught.value)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such file"):
        audio.read_audio(tmp_path / "a.wav")


def test_a_wav_from_a_pipe_is_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(data)
    assert len(audio.read_audio(tmp_path / "a.wav")[0]) == RATE


@QUICK
@given(data=st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF" + data)
    with pytest.raises(ValueError):
        audio.read_audio(tmp_path / "a.wav")


# Writing


@pytest.mark.parametrize("suffix", audio.FORMATS)
def test_what_is_written_can_be_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    audio.write_audio(path, tone(rate=24_000), 24_000)
    wave, rate = audio.read_audio(path)
    assert rate == 24_000 and abs(len(wave) - 24_000) < 3000
    assert abs(audio.rms_db(wave) - audio.rms_db(tone())) < 1
    assert os.listdir(tmp_path) == [path.name]


@QUICK
@given(values=st.lists(st.floats(-3, 3, width=32), min_size=400, max_size=600))
def test_wav_keeps_16_bits_and_never_wraps(values: list[float], tmp_path: Path) -> None:
    wave = np.array(values, np.float32)
    audio.write_audio(tmp_path / "a.wav", wave, RATE)
    back = audio.read_audio(tmp_path / "a.wav")[0]
    assert np.abs(back - np.clip(wave, -1, 1)).max() <= 1.01 / 32767  # 1.0 is the largest step less
    audio.write_audio(tmp_path / "b.wav", back, RATE)
    assert np.array_equal(audio.read_audio(tmp_path / "b.wav")[0], back)


def test_int16_saturates() -> None:
    assert audio.to_int16(np.array([2.0, -2.0, 1.0, 0.0])).tolist() == [32767, -32768, 32767, 0]


def test_unwritable_targets(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="does not exist; create it"):
        audio.write_audio(tmp_path / "no" / "a.wav", tone(), RATE)
    with pytest.raises(OSError, match="is a folder"):
        audio.write_audio(tmp_path, tone(), RATE)
    with pytest.raises(ValueError, match="must end in .wav"):
        audio.write_audio(tmp_path / "a.xyz", tone(), RATE)
    with pytest.raises(ValueError, match="mp3 has no 96000 Hz"):
        audio.write_audio(tmp_path / "a.mp3", tone(), 96_000)
    with pytest.raises(ValueError, match="no audio"):
        audio.write_audio(tmp_path / "a.wav", tone()[:0], RATE)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("suffix", audio.FORMATS)
def test_a_full_disk_leaves_the_old_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the old one")

    class FullDisk:
        def __init__(self, file: object) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    sink = files._Sink
    monkeypatch.setattr(files, "_Sink", lambda file: sink(FullDisk(file)))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No space left on device; free some space"):
        audio.write_audio(path, tone(3), RATE)
    assert path.read_bytes() == b"the old one" and os.listdir(tmp_path) == [path.name]


def test_ctrl_c_leaves_a_valid_file_and_an_error_none(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), audio.AudioWriter(tmp_path / "a.wav", RATE) as writer:
        writer.write(tone())
        raise KeyboardInterrupt
    assert len(audio.read_audio(tmp_path / "a.wav")[0]) == RATE
    with pytest.raises(RuntimeError), audio.AudioWriter(tmp_path / "b.wav", RATE) as writer:
        writer.write(tone())
        raise RuntimeError
    assert os.listdir(tmp_path) == ["a.wav"]


# Spectra


@QUICK
@given(
    rates=st.tuples(st.sampled_from([8000, 16000, 22050, 24000]), st.sampled_from([16000, 44100]))
)
def test_resampling_keeps_length_and_level(rates: tuple[int, int]) -> None:
    wave = audio.resample(tone(rate=rates[0]), *rates)
    assert wave.dtype == np.float32 and abs(len(wave) - rates[1]) <= 1
    assert abs(audio.rms_db(wave) - audio.rms_db(tone())) < 0.1


def test_spectrogram_and_mel_have_a_frame_a_hop_and_gradients() -> None:
    wave = torch.from_numpy(tone())[None].requires_grad_()
    assert audio.spectrogram(wave, 1024, 320).shape == (1, 513, 50)
    mel = audio.log_mel(wave, RATE, 1024, 320, 80)
    assert mel.shape == (1, 80, 50)
    mel.sum().backward()
    assert wave.grad is not None and torch.isfinite(wave.grad).all()


def test_silence_has_finite_gradients() -> None:
    wave = torch.zeros(1, 4000, requires_grad=True)
    audio.log_mel(wave, RATE, 1024, 320, 80).sum().backward()
    assert wave.grad is not None and torch.isfinite(wave.grad).all()


def test_a_tone_lights_its_own_mel() -> None:
    bank = audio.mel_filterbank(RATE, 1024, 80)
    assert bank.shape == (80, 513) and (bank >= 0).all()
    mel = audio.log_mel(torch.from_numpy(tone(hz=1000))[None], RATE, 1024, 320, 80)[0].mean(dim=1)
    assert int(mel.argmax()) == int(bank[:, 64].argmax())  # bin 64 is 1 kHz


def test_mel_filterbank_known_values() -> None:
    """Slaney: 200/3 Hz a mel up to 1 kHz, each triangle's area (in Hz) is 1."""
    bank = audio.mel_filterbank(16_000, 16_000, 40, 0.0, 8000.0)  # bins of 1 Hz
    assert torch.allclose(bank.sum(dim=1), torch.ones(40), atol=1e-2)
    steps = np.diff(bank[:5].argmax(dim=1).numpy())
    assert np.ptp(steps) <= 1


def test_f0_follows_a_glide_and_is_zero_in_silence() -> None:
    glide = np.linspace(120, 240, RATE)
    phase = 2 * np.pi * np.cumsum(glide) / RATE
    wave = np.concatenate([sum(np.sin(k * phase) / k for k in (1, 2, 3)), np.zeros(RATE)])
    track = audio.f0(wave.astype(np.float32), RATE, 0.02)
    assert track.shape == (100,) and (track[60:] == 0).all()
    expected = glide[((np.arange(5, 45) + 0.5) * 0.02 * RATE).astype(int)]
    assert np.abs(track[5:45] / expected - 1).max() < 0.03
    assert len(audio.f0(tone(0.03), RATE, 0.02)) == 1


# Judging a recording


@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30])
def test_snr_of_known_mixtures(snr: float) -> None:
    noise = np.random.default_rng(1).standard_normal(4 * RATE)
    assert abs(audio.snr_db(with_noise(talk(), snr, noise), RATE) - snr) < 2


def test_snr_ends_of_the_scale() -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32)
    faint = 1e-4 * np.random.default_rng(1).standard_normal(4 * RATE)
    assert audio.snr_db((talk() + faint).astype(np.float32), RATE) > 40
    assert audio.snr_db(talk(), RATE) > 20  # pauses of digital zeros tell nothing
    assert audio.snr_db(noise, RATE) < 0
    assert audio.snr_db(np.zeros(RATE, np.float32), RATE) == -10
    assert audio.snr_db(np.zeros(1, np.float32), RATE) == -10


@pytest.mark.slow
@pytest.mark.chosen
@pytest.mark.skipif(not CORPUS.exists(), reason="needs recordings beside the repository")
@pytest.mark.parametrize(("kind", "within"), [("white", 1.0), ("nine voices", 4.0)])
def test_snr_of_real_speech(kind: str, within: float) -> None:
    with open(CORPUS / "manifest.tsv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [r for r in rows if 2.5 < float(r["duration_s"]) < 4 and float(r["snr_db"] or 0) > 40]
    clips = [audio.resample(*audio.read_audio(CORPUS / r["path"]), RATE) for r in rows[:400:40]]
    dice = np.random.default_rng(0)
    for snr in (5, 10, 20):
        errors = []
        for clip in clips:
            noise = dice.standard_normal(len(clip))
            if kind != "white":
                others = [c / np.sqrt(active_power(c)) for c in clips if c is not clip]
                turned = [np.roll(c, int(dice.integers(len(c)))) for c in others]  # no common start
                noise = sum(np.resize(c, len(clip)) for c in turned)
            errors.append(audio.snr_db(with_noise(clip, snr, noise), RATE) - snr)
        assert abs(np.mean(errors)) < within, (snr, errors)


def test_clipping() -> None:
    wave = tone(hz=233.3)
    assert audio.clipping_ratio(wave) == 0
    assert audio.clipping_ratio(np.clip(wave * 2, -0.3, 0.3)) > 0.3
    assert audio.clipping_ratio(np.clip(wave * 10, -1, 1)) > 0.3
    assert audio.clipping_ratio(np.zeros(100, np.float32)) == 0


def test_reverberation_grows_with_the_room() -> None:
    dice, dry = np.random.default_rng(2), talk()
    heard = []
    for seconds in (0.4, 0.7, 1.2):
        time = np.arange(int(1.2 * seconds * RATE)) / RATE
        room = dice.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        room /= np.linalg.norm(room)
        room[0] += 1
        size = 1 << 17
        wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(room, size))[: len(dry)]
        heard.append(audio.reverberation_seconds(wet.astype(np.float32), RATE))
    assert heard[0] < heard[1] < heard[2]
    assert abs(heard[1] - 0.7) < 0.25


def test_loudness_of_the_reference_tone() -> None:
    """ITU-R BS.1770: a 997 Hz sine at full scale in one channel reads -3.01 LUFS."""
    wave = np.sin(2 * np.pi * 997 * np.arange(48_000) / 48_000).astype(np.float32)
    assert abs(audio.loudness(wave, 48_000) + 3.01) < 0.05
    assert abs(audio.loudness(wave * 0.1, 48_000) + 23.01) < 0.05
    assert audio.loudness(np.zeros(48_000, np.float32), 48_000) == -70
    assert abs(audio.rms_db(wave) + 3.01) < 0.01


def test_speech_is_told_from_what_is_not() -> None:
    dice, time = np.random.default_rng(4), np.arange(3 * RATE) / RATE
    noise = 0.1 * dice.standard_normal(3 * RATE)
    not_speech = {
        "silence": np.zeros(3 * RATE),
        "noise": noise,
        "gusts": noise * (1 + np.sin(2 * np.pi * 4 * time)),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time) + 0.1 * np.sin(2 * np.pi * 100 * time),
        "tone": tone(3.0),
        "beeps": tone(3.0) * (np.sin(4 * np.pi * time) > 0),
        "clicks": (np.arange(3 * RATE) % 4000 == 0) * 0.5,
    }
    for name, wave in not_speech.items():
        assert audio.speech_score(wave.astype(np.float32), RATE) < 0.4, name
    assert audio.speech_score(talk(), RATE) > 0.7
    assert audio.speech_score(with_noise(talk(), 5, dice.standard_normal(4 * RATE)), RATE) > 0.7


def test_trimming_keeps_the_speech_and_a_margin() -> None:
    pause = np.zeros(RATE, np.float32)
    trimmed = audio.trim_silence(np.concatenate([pause, talk(2.0), pause]), RATE)
    assert 1.9 * RATE < len(trimmed) < 2.4 * RATE
    assert len(audio.trim_silence(pause, RATE)) == 0


@QUICK
@given(
    length=st.integers(1, 3000), rate=st.sampled_from([8000, 22050, 48000]), seed=st.integers(0, 9)
)
def test_every_measure_survives_any_length(length: int, rate: int, seed: int) -> None:
    wave = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    report = audio.inspect(wave, rate)
    values = [report.snr_db, report.clipping, report.reverberation_seconds, report.loudness]
    assert np.isfinite(values).all() and 0 <= report.speech <= 1
    assert len(audio.trim_silence(wave, rate)) <= length
