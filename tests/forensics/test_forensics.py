"""The detector: learns what is planted, says when and in which band; roads are the same for both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from voxray import audio
from voxray.commands import main
from voxray.forensics import defend, judge, matching
from voxray.forensics.detector import spans
from voxray.forensics.material import FRAMES, STEPS, Examples, Source, Sources, example, prepare
from voxray.forensics.network import BINS, CRESTS, LAYOUT, SIGHTS, STEP_SECONDS, Detector, features
from voxray.forensics.resynthesis import phases, pulsed, vocoded
from voxray.forensics.train import balanced, calibrate, equal_error_rate, fit, odds_of
from voxray.synthesis import WordTime


def noise(seconds: float = 2.0, seed: int = 0, rate: int = 16_000) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype("f4")


@pytest.mark.parametrize(("codec", "bits"), [("opus", 16_000), ("opus", 24_000), ("mp3", 64_000)])
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_codecs_keep_place_and_length(codec: str, bits: int, rate: int) -> None:
    time = np.arange(rate) / rate
    wave = (0.3 * np.sin(2 * np.pi * 300 * time) * (np.sin(2 * np.pi * 3 * time) > 0)).astype("f4")
    back = matching.through(wave, rate, codec, bits)
    assert len(back) == len(wave) and np.corrcoef(back, wave)[0, 1] > 0.95


def test_wrong_codecs() -> None:
    with pytest.raises(ValueError, match="opus or mp3"):
        matching.through(noise(), 16_000, "aac", 64_000)
    with pytest.raises(ValueError, match="takes"):
        matching.through(noise(), 16_000, "opus", 1_000)


def test_level_and_rate_give_nothing_away() -> None:
    wave = noise(1.0, rate=24_000)
    assert np.allclose(features(wave, 24_000), features(3 * wave, 24_000), atol=1e-3)
    assert features(wave, 24_000).shape[1] == SIGHTS
    assert abs(features(wave, 24_000)[:, :BINS].mean(0)).max() < 1e-4


def test_crests_see_pulses_where_the_power_is_the_same() -> None:
    """A train of clicks and noise of its spectrum: only the crests differ."""
    pulses = np.zeros(32_000, np.float32)
    pulses[::133] = 1.0  # 120 Hz
    spectrum = np.abs(np.fft.rfft(pulses))
    turns = np.exp(2j * np.pi * np.random.default_rng(0).random(len(spectrum)))
    spread = np.fft.irfft(spectrum * turns).astype(np.float32)
    high, low = (features(wave, 16_000)[:, -CRESTS:].mean() for wave in (pulses, spread))
    assert high > low + 1.0
    for seconds in (0.01, 0.3, 1.0):
        assert np.isfinite(features(noise(seconds), 16_000)).all()


def test_low_pass() -> None:
    low = matching.low_passed(noise(), 16_000, 3400.0)
    spectrum = np.abs(np.fft.rfft(low))
    hertz = np.fft.rfftfreq(len(low), 1 / 16_000)
    assert spectrum[hertz > 3600].max() < 1e-3 * spectrum[hertz < 3200].max()


def planted(count: int, seed: int = 0) -> Examples:
    """Fakes flicker between 1.8 and 2.7 kHz; every fourth example turns fake half way."""
    dice = np.random.default_rng(seed)
    x = dice.standard_normal((count, 96, SIGHTS)).astype(np.float16)
    fake = np.zeros((count, 24), bool)
    fake[1::4], fake[2::4, 12:] = True, True
    where = np.repeat(fake, 4, axis=1)[:, :, None]
    flicker = np.where(np.arange(96) % 4 < 2, 2.0, -2.0)[None, :, None]
    x[:, :, 56:84] += (flicker * where).astype(np.float16)
    return Examples(x, fake)


def test_it_finds_a_planted_trace_its_band_and_where_it_begins() -> None:
    kept = planted(40, 1)
    net = calibrate(fit(planted(80), steps=60), kept)
    seen = odds_of(net, kept)
    assert ((seen > 0) == kept.fake).mean() > 0.9
    share = kept.fake.mean(1)
    scores = net.score(torch.from_numpy(seen)).numpy()
    assert equal_error_rate(scores[share == 0], scores[share == 1]) < 0.1
    assert (scores[share == 0] > 0).mean() <= 0.1
    from voxray.forensics.detector import _bands

    spectrum = torch.from_numpy(kept.x[1:2].astype(np.float32))
    falls = [fall for _, _, fall in _bands(net, spectrum, float(scores[1]))]
    assert int(np.argmax(falls)) == 2


def test_calibration_wants_both_sides() -> None:
    with pytest.raises(ValueError, match="both sides"):
        calibrate(Detector().eval(), Examples(planted(8).x[:1], np.zeros((1, 24), bool)))


def test_training_repeats() -> None:
    examples = planted(8)
    first, second = (fit(examples, steps=2).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_spans_name_words() -> None:
    steps = np.full(100, -2.0, np.float32)
    steps[40:70] = 3.0
    words = [WordTime("one", 0.0, 1.5), WordTime("two", 1.7, 2.6), WordTime("three", 3.2, 3.9)]
    (span,) = spans(steps, words)
    assert span.start_s == pytest.approx(40 * STEP_SECONDS, abs=0.25)
    assert span.end_s == pytest.approx(70 * STEP_SECONDS, abs=0.25)
    assert span.words == ("two",) and span.odds > 0
    assert not spans(np.full(50, -1.0, np.float32))


def test_judging(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = judge(noise(), 16_000)
    assert len(found.steps) == pytest.approx(2.0 / STEP_SECONDS, abs=2) and len(found.bands) == 8
    assert found.bands[0][0] < found.bands[-1][0] < 7000
    with pytest.raises(ValueError, match="too short"):
        judge(noise(0.1), 16_000)
    audio.write_audio(tmp_path / "x.wav", noise(), 16_000)
    assert main(["forensics", "judge", str(tmp_path / "x.wav"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["log_odds"] == pytest.approx(found.score, abs=0.1)
    assert main(["forensics", "judge", str(tmp_path / "x.wav")]) == 0
    assert "likelier" in capsys.readouterr().out
    assert main(["forensics", "defend", str(tmp_path)]) == 0
    assert "of 1 synthetic files" in capsys.readouterr().out
    assert main(["forensics", "judge", str(tmp_path / "none.wav")]) == 2


def test_defence_names_what_is_planted() -> None:
    """Short files escape; nothing else differs."""
    dice = np.random.default_rng(3)
    cases = [
        defend.Case(f"{n}", -1.0 if n < 10 else 1.0,
                    {"seconds": (1.0 if n < 10 else 4.0) + dice.normal(0, 0.3),
                     "loudness (LUFS)": dice.normal(-20, 2)})
        for n in range(40)
    ]  # fmt: skip
    found = defend.reasons(cases)
    assert found[0].trait == "seconds" and found[0].p < 0.01 and found[0].escaped < 2
    assert defend.reasons([case for case in cases if case.escapes]) == ()
    report = defend.Defence(tuple(cases), found)
    assert "10 of 40" in report.lines()[0]


def test_preparing_and_balancing(tmp_path: Path) -> None:
    for folder, count in (("a", 5), ("b", 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            audio.write_audio(tmp_path / folder / f"{number}.wav", noise(1.0, number), 16_000)
    paths = sorted(tmp_path.rglob("*.wav"))
    chosen = balanced(paths, 4, 0)
    assert sorted(path.parent.name for path in chosen) == ["a", "a", "b", "b"]
    sources = Sources((Source((paths[0],), 1.0),), (Source((paths[1],), 1.0),))
    made, again = prepare(sources, 4, 0), prepare(sources, 4, 0)
    assert made.x.shape == (4, FRAMES, SIGHTS) and made.fake.shape == (4, STEPS)
    assert np.array_equal(made.x, again.x) and np.array_equal(made.fake, again.fake)
    whole = prepare(sources, 2, 0, mixed=0.0)
    assert list(whole.fake.mean(1)) == [0.0, 1.0]


def test_what_is_cut_in_lies_where_the_labels_say(tmp_path: Path) -> None:
    for name, wave in (("quiet", noise(3.0, 1)), ("loud", noise(3.0, 2))):
        audio.write_audio(tmp_path / f"{name}.wav", wave, 16_000)

    def high(wave: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return np.full(len(wave), 1.0, np.float32)

    real = Source((tmp_path / "quiet.wav",), 1.0)
    sources = Sources((real,), (Source((tmp_path / "loud.wav",), 1.0, high),))
    for seed in range(6):
        wave, where = example(sources, False, True, np.random.default_rng(seed))
        assert (where == np.isclose(wave, matching.LEVEL, rtol=1e-4)).mean() > 0.999


@pytest.mark.parametrize("machine", [phases, vocoded, pulsed])
def test_resynthesis_keeps_length_and_repeats(machine: object) -> None:
    time = np.arange(16_000) / 16_000
    wave = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20)).astype("f4")
    first, second = (machine(wave, np.random.default_rng(0)) for _ in range(2))  # type: ignore[operator]
    assert first.shape == wave.shape and np.array_equal(first, second)
    assert np.isfinite(first).all() and not np.allclose(first, wave, atol=0.05)


def test_equal_error_rate() -> None:
    low, high = np.arange(10.0), np.arange(10.0) + 20
    assert equal_error_rate(low, high) == pytest.approx(0, abs=0.06)
    assert equal_error_rate(high, low) > 0.9
    assert equal_error_rate(low, low) == pytest.approx(0.5, abs=0.06)


def test_the_network_is_small_and_the_weights_are_its_own() -> None:
    from voxray.forensics.detector import detector

    assert sum(p.numel() for p in Detector().parameters()) < 100_000
    assert int(detector().layout) == LAYOUT
