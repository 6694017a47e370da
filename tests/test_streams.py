"""A stream of a published model against the whole: equal where all tokens are made first, near where not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from test_matching_round_trip import V4
from test_round_trip import GPT, QUANTISER, V2

from voxray import joining, pacing
from voxray.bundle import Bundle, FamilyBundle
from voxray.config import BundleConfig
from voxray.decoding import TokenDecoder
from voxray.engine import check_options
from voxray.joining import EdgeTrimmer
from voxray.models.generator import Generator
from voxray.models.prior import Window
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.voice import Voice

TEXT = "Hello there, my friend."
TOKENS = 70
SPEAKER = torch.randn(512, generator=torch.Generator().manual_seed(1))


def built(version: str) -> FamilyBundle:
    parts = V2 if version == "v2" else V4
    config = BundleConfig(
        name=version, version=version, gpt=GPT, content=QUANTISER, generator=parts
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = FamilyBundle.build(config)
        models.generator.codebook.normal_()
        if isinstance(models.generator, Generator):
            for coupling in models.generator.flow.couplings:  # a fresh one shifts nothing
                coupling.after.weight.data.normal_(std=0.3)  # type: ignore[union-attr]
    models.ready("float32")
    for parameter in models.generator.sound.parameters():  # and a fresh decoder whispers
        parameter.data.mul_(3)
    return models


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    models = built("v2")
    return Pipeline(models, models.text_pipeline())


@pytest.fixture(scope="module")
def generator(pipeline: Pipeline) -> Generator:
    assert isinstance(pipeline.models.generator, Generator)
    return pipeline.models.generator


def options(**given: object) -> SynthesisOptions:
    return check_options({"seed": 5, "floor": TOKENS, "max_tokens": TOKENS, **given})


def given(generator: Generator) -> tuple[torch.Tensor, ...]:
    dice = torch.Generator().manual_seed(2)
    tokens, text = (torch.randint(1, 300, (1, n), generator=dice) for n in (40, 9))
    noise = torch.randn(1, generator.config.noise_channels, 160, generator=dice)
    return tokens, text, SPEAKER[None], noise


@torch.inference_mode()
@pytest.mark.parametrize("speed", [1.0, 0.8, 1.3])
def test_a_window_is_what_the_whole_has_there(generator: Generator, speed: float) -> None:
    whole = generator.decode(*given(generator), speed)
    frames, hop = whole.latents.shape[2], generator.config.hop
    for begin, end in ((0, 7), (20, 41), (frames - 3, frames + 9)):
        part = generator.decode(*given(generator), speed, window=(begin, end))
        there = whole.audio[:, begin * hop : end * hop]
        assert part.audio.shape == there.shape
        assert torch.allclose(part.audio, there, atol=1e-5)
        assert torch.allclose(part.latents, whole.latents[:, :, begin:end], atol=1e-5)


@torch.inference_mode()
def test_what_lies_beyond_the_reach_is_not_looked_at(generator: Generator) -> None:
    tokens, text, speaker, noise = given(generator)
    begin, end = 40, 44
    near = generator._near(begin, end)
    assert near.begin > 0 and near.end < 80
    disturbed = noise.clone()
    disturbed[:, :, : near.begin] = disturbed[:, :, near.end :] = 9.0
    first, second = (
        generator.decode(tokens, text, speaker, dice, window=(begin, end)).audio
        for dice in (noise, disturbed)
    )
    assert torch.equal(first, second)


@torch.inference_mode()
def test_the_prior_cuts_last(generator: Generator) -> None:
    tokens, text, speaker, _ = given(generator)
    asked = (
        generator.features(tokens),
        torch.tensor([80]),
        text,
        torch.tensor([9]),
        speaker[..., None],
    )
    whole = generator.prior(*asked, 1.25)
    part = generator.prior(*asked, 1.25, window=Window(10, 30, after=True))
    assert torch.equal(part.mean, whole.mean[:, :, 10:30]) and part.mask.shape[2] == 20


def test_a_model_with_a_phase_has_no_windows(tiny: Bundle) -> None:
    tokens, text, _, noise = given(tiny.generator)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at once"):
        tiny.generator.decode(tokens, text, SPEAKER[None, :256], noise, window=(0, 4))


@pytest.mark.parametrize("first", [3, 20, 60])
@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_with_all_tokens_first_a_stream_is_the_whole(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, first: int, speed: float
) -> None:
    monkeypatch.setattr(pacing, "FIRST_CHUNK", first)
    voice = Voice("nobody", SPEAKER)
    whole = pipeline.synthesise(TEXT, voice, options(speed=speed))
    stream = pipeline.stream(TEXT, voice, options(speed=speed, stream="equal"))
    chunks = list(stream)
    made = stream.synthesis
    assert len(chunks) == (2 if first == 60 else 3 if first == 20 else 5)
    assert len(made.audio) == len(whole.audio) > 2 * TOKENS * 320
    assert np.abs(made.audio - whole.audio).max() < 1e-5
    assert np.array_equal(made.tokens, whole.tokens)
    assert np.array_equal(made.alignment, whole.alignment)
    assert np.allclose(made.token_times, whole.token_times, atol=1e-4)
    assert np.allclose(made.latents, whole.latents, atol=1e-5)


def test_an_early_stream_sounds_before_its_tokens_are_there(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    advance = TokenDecoder.advance

    def counted(self: TokenDecoder, count: int | None = None) -> None:
        advance(self, count)
        steps.append(len(self.tokens))

    monkeypatch.setattr(TokenDecoder, "advance", counted)
    voice = Voice("nobody", SPEAKER)
    whole = pipeline.synthesise(TEXT, voice, options())
    there = {}
    for way in ("early", "equal"):
        stream = pipeline.stream(TEXT, voice, options(stream=way))
        next(stream)
        there[way] = steps[-1]
        assert sum(map(len, stream)) < len(stream.synthesis.audio) == len(whole.audio)
        assert np.array_equal(stream.synthesis.tokens, whole.tokens)
        last = slice(-9 * 1280, None)  # the last chunk's prior has read everything
        assert np.abs(stream.synthesis.audio[last] - whole.audio[last]).max() < 1e-5
    assert there == {"early": 20 + joining.LOOK_AHEAD, "equal": TOKENS}


def test_the_prior_of_an_early_chunk_reads_all_tokens_so_far(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    decode = Generator.decode

    def watched(self: Generator, tokens: torch.Tensor, *more: object, **named: object) -> object:
        seen.append(tokens.shape[1])
        return decode(self, tokens, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Generator, "decode", watched)
    voice = Voice("nobody", SPEAKER)
    list(pipeline.stream(TEXT, voice, options()))
    assert seen == [20 + joining.LOOK_AHEAD, 60 + joining.LOOK_AHEAD, TOKENS]
    seen.clear()
    list(pipeline.stream(TEXT, voice, options(stream="equal")))
    assert seen == [TOKENS] * 3


def test_flow_matching_sounds_a_sentence_at_once() -> None:
    models = built("v4")
    pipeline = Pipeline(models, models.text_pipeline())
    mel = torch.randn(10, 16, generator=torch.Generator().manual_seed(3))
    voice = Voice(
        "nobody", SPEAKER, (1, 2, 3, 4), (5, 6), prompt_mel=mel, prompt_context=torch.zeros(2, 8)
    )
    text = f"{TEXT} {TEXT}"
    few = options(floor=12, max_tokens=12)
    whole = pipeline.synthesise(text, voice, few)
    chunks = list(pipeline.stream(text, voice, few))
    assert len([chunk for chunk in chunks if chunk.any()]) == 2
    assert np.array_equal(np.concatenate(chunks), whole.audio)


def test_any_model_can_stream_equally(tiny: Bundle, voice: Voice) -> None:
    pipeline = Pipeline(tiny, tiny.text_pipeline())
    whole = pipeline.synthesise("One two three four.", voice, options())
    chunks = list(pipeline.stream("One two three four.", voice, options(stream="equal")))
    assert np.array_equal(np.concatenate(chunks), whole.audio)
    with pytest.raises(ValueError, match="stream"):
        options(stream="soon")


def cut(wave: np.ndarray, sizes: Iterator[int] | list[int], opening: int) -> np.ndarray:
    trimmer, parts, at = EdgeTrimmer(1000, opening), [], 0
    for size in sizes:
        parts.append(trimmer.feed(wave[at : at + size], last=at + size >= len(wave)))
        at += size
    return np.concatenate(parts)


def test_the_front_is_cut_alike_whole_and_in_chunks() -> None:
    """A soft beginning is no silence, however loud the speech becomes."""
    wave = np.full(1000, 0.5, np.float32)
    wave[:300] = 0.001
    wave[:100] = 0.0
    assert np.array_equal(cut(wave, [200, 300, 500], 200), cut(wave, [1000], 200))
    assert len(cut(wave, [1000], 200)) == 930
