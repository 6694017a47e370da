"""The chain on a tiny random system: shapes, seeds, streaming, pauses, timestamps, bad text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxray.bundle import Bundle
from voxray.config import BundleConfig
from voxray.joining import EdgeTrimmer, monotone_path
from voxray.pieces import MAX_CHARACTERS, Script, check_text, sayable
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.synthesis import Synthesis, WordTime
from voxray.text import TextPipeline
from voxray.voice import Voice

TEXT = "Good morning. It rains, 下雨了。"


@pytest.fixture(scope="module")
def pipeline(tiny: Bundle) -> Pipeline:
    return Pipeline(tiny, TextPipeline())


def options(**given: object) -> SynthesisOptions:
    return SynthesisOptions(**{"seed": 5, **given})  # type: ignore[arg-type]


def test_every_intermediate_is_there_and_fits(pipeline: Pipeline, voice: Voice) -> None:
    made = pipeline.synthesise(TEXT, voice, options())
    assert made.audio.dtype == np.float32 and np.abs(made.audio).max() <= 1.0
    assert len(made.tokens) == len(made.alignment) == len(made.token_times) > 0
    assert made.alignment.max() < len(made.phonemes.items)
    assert (np.diff(made.token_times) >= 0).all() and made.token_times[-1] <= made.seconds
    assert made.latents.shape == (96, 2 * len(made.tokens))
    assert [word.text for word in made.words][:2] == ["Good", "morning"]
    assert (made.seed, made.model, made.voice) == (5, "tiny", "nobody")
    assert {"text", "tokens", "audio", "first_audio", "total"} <= made.timings.keys()


def test_the_same_seed_is_the_same_audio(pipeline: Pipeline, voice: Voice) -> None:
    first = pipeline.synthesise("Hello.", voice, options())
    again = pipeline.synthesise("Hello.", voice, options())
    other = pipeline.synthesise("Hello.", voice, options(seed=6))
    assert np.array_equal(first.audio, again.audio)
    assert not np.array_equal(first.tokens, other.tokens)


def test_a_stream_says_the_same_tokens_in_small_chunks(pipeline: Pipeline, voice: Voice) -> None:
    text = "One two three four five six seven eight nine ten eleven twelve."
    stream = pipeline.stream(text, voice, options())
    chunks = list(stream)
    whole = pipeline.synthesise(text, voice, options())
    assert np.array_equal(stream.synthesis.tokens, whole.tokens)
    assert len(chunks) > 1 and sum(map(len, chunks)) == len(stream.synthesis.audio)
    assert stream.progress == 1.0 and stream.seed == 5


def test_asked_pauses_are_exact(pipeline: Pipeline, voice: Voice) -> None:
    made = pipeline.synthesise("Wait[700ms]here.", voice, options())
    zeros = np.flatnonzero(np.diff(np.r_[0, made.audio == 0, 0]))
    runs = zeros[1::2] - zeros[::2]
    assert round(0.7 * made.sample_rate) in runs


def test_speed_changes_length_not_tokens(pipeline: Pipeline, voice: Voice) -> None:
    normal = pipeline.synthesise("Hello there.", voice, options())
    fast = pipeline.synthesise("Hello there.", voice, options(speed=2.0))
    assert np.array_equal(normal.tokens, fast.tokens)
    assert fast.seconds < 0.7 * normal.seconds


def test_without_a_watch_the_prior_aligns(pipeline: Pipeline, voice: Voice) -> None:
    made = pipeline.synthesise("Hello.", voice, options(watch=None))
    assert len(made.alignment) == len(made.tokens)
    assert (np.diff(made.alignment) >= 0).all()


def test_a_style_reference_is_read_first_and_not_said(pipeline: Pipeline, voice: Voice) -> None:
    styled = Voice("styled", voice.speaker, tuple(range(20)), (40, 41, 42))
    made = pipeline.synthesise("Hello.", styled, options())
    plain = pipeline.synthesise("Hello.", styled, options(style=False))
    assert not np.array_equal(made.tokens, plain.tokens)
    assert made.alignment.max() < len(made.phonemes.items)


def test_conversion_keeps_the_length(pipeline: Pipeline, voice: Voice) -> None:
    wave = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    made = pipeline.convert(wave, 16_000, voice, options())
    assert len(made.tokens) == 25 and made.seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "empty"), (" \n", "empty"), ("a\0b", "NUL"), ("a" * (MAX_CHARACTERS + 1), "limit")],
)
def test_text_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_text(text)


@pytest.mark.parametrize("text", ["😀😀", "привет мир", "...", "\u200b", "♪♫"])
def test_text_without_words(pipeline: Pipeline, voice: Voice, text: str) -> None:
    with pytest.raises(ValueError, match=r"nothing to say|empty"):
        pipeline.synthesise(text, voice, options())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        script = Script(text, TextPipeline(), "auto", 280)
        pieces = list(script)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert all(0 <= index < len(script.items) for piece in pieces for index in piece.items)
    assert all(item.end <= len(script.text) for item in script.items)


def test_what_makes_no_sound_is_joined_to_what_does() -> None:
    text = "Hi. 😀 Bye. [300ms]"
    joined = sayable(text, [(0, 3), (4, 5), (6, 10), (11, 18)])
    assert [text[a:b] for a, b in joined] == ["Hi. 😀", "Bye. [300ms]"]


def test_trimming_in_chunks_is_trimming_at_once() -> None:
    rate = 1000
    wave = np.zeros(3000, np.float32)
    wave[500:1000] = wave[1800:2500] = 0.5
    trimmer = EdgeTrimmer(rate)
    parts = [trimmer.feed(wave[i : i + 300], last=i == 2700) for i in range(0, 3000, 300)]
    made = np.concatenate(parts)
    assert np.array_equal(made, wave[470:2560]) and trimmer.lead == 470


def test_the_best_monotone_path() -> None:
    truth = [0, 0, 1, 1, 1, 2, 4, 4]
    scores = np.full((len(truth), 5), 0.05)
    scores[np.arange(len(truth)), truth] = 0.8
    assert monotone_path(scores).tolist() == truth


def test_subtitles() -> None:
    text = "Hello there. Bye!"
    words = [WordTime("Hello", 0.0, 0.4, 0, 5), WordTime("there", 0.4, 0.9, 6, 11),
             WordTime("Bye", 61.2, 61.5, 13, 16)]  # fmt: skip
    empty = np.zeros(0)
    made = Synthesis(empty, 1, text, None, empty, empty, empty, empty, 0, words)  # type: ignore[arg-type]
    assert made.srt() == (
        "1\n00:00:00,000 --> 00:00:00,900\nHello there.\n\n2\n00:01:01,200 --> 00:01:01,500\nBye!\n"
    )


def test_a_models_own_sampling_holds_where_no_other_is_asked_for() -> None:
    config = BundleConfig(temperature=0.5, repetition_penalty=1.0)
    plain = SynthesisOptions().suited(config)
    assert (plain.temperature, plain.repetition_penalty) == (0.5, 1.0)
    asked = SynthesisOptions(temperature=0.9, repetition_penalty=1.35).suited(config)
    assert (asked.temperature, asked.repetition_penalty) == (0.9, 1.35)
