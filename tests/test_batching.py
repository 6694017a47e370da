"""Many texts side by side are each what they are alone; requests in threads do not mix."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from voxray.batching import Order, advance_together, buckets, speak_many
from voxray.bundle import Bundle
from voxray.decoding import TokenDecoder
from voxray.engine import check_options, tts
from voxray.pipeline import AudioStream, Pipeline, SynthesisOptions
from voxray.sampling import SamplingOptions
from voxray.voice import Voice

TEXTS = [
    "No.",
    "Come inside. It is late.",
    "He said so twice, and nobody heard him.",
    "好。",
    "Stop.",
]


def options(seed: int, **more: object) -> SynthesisOptions:
    return check_options({"seed": seed, "watch": None, "max_tokens": 40, **more})


def someone(number: int) -> Voice:
    dice = torch.Generator().manual_seed(number)
    styled = {"prompt_tokens": (1, 2, 3), "prompt_phonemes": (5, 6)} if number % 2 else {}
    return Voice(f"voice {number}", torch.randn(256, generator=dice), **styled)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pipeline(tiny: Bundle) -> Pipeline:
    return Pipeline(tiny, tiny.text_pipeline())


def orders() -> list[Order]:
    return [Order(text, someone(i), options(i)) for i, text in enumerate(TEXTS)]


def test_a_batch_says_what_each_says_alone(pipeline: Pipeline) -> None:
    alone = [pipeline.synthesise(o.text, o.voice, o.options) for o in orders()]
    for size in (1, 3, 8):
        for one, other in zip(speak_many(pipeline, orders(), size), alone, strict=True):
            assert np.array_equal(one.tokens, other.tokens)
            assert np.allclose(one.audio, other.audio, atol=1e-5)
            assert one.voice == other.voice and one.text == other.text
            assert np.array_equal(one.alignment, other.alignment)


def test_the_batch_is_used(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    step = pipeline.models.gpt.step
    monkeypatch.setattr(
        pipeline.models.gpt, "step", lambda token, cache: rows.append(len(token)) or step(token, cache)
    )  # fmt: skip
    same = [Order(text, someone(0), options(i)) for i, text in enumerate(["Go on.", "So, so."])]
    speak_many(pipeline, same)
    assert 2 in rows and rows == sorted(rows, reverse=True)  # those that ended are dropped


def test_watched_texts_are_said_one_by_one(pipeline: Pipeline) -> None:
    asked = Order("Come inside.", someone(0), check_options({"seed": 1}))
    (batched,) = speak_many(pipeline, [asked])
    alone = pipeline.synthesise(asked.text, asked.voice, asked.options)
    assert np.array_equal(batched.audio, alone.audio)


def test_buckets_hold_like_lengths(tiny: Bundle) -> None:
    def decoder(text: int, prompt: int) -> TokenDecoder:
        return TokenDecoder(tiny.gpt, [1] * text, SamplingOptions(), 0, prompt_tokens=[1] * prompt)

    made = [decoder(*sizes) for sizes in ((30, 0), (10, 0), (11, 0), (12, 4), (12, 0), (13, 4))]
    found = [[(len(d.prompt), len(d.text)) for d in b] for b in buckets(made, 2)]
    assert found == [[(0, 10), (0, 11)], [(0, 12)], [(0, 30)], [(4, 12), (4, 13)]]


def test_a_batch_with_context_features(tiny: Bundle) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gpt = type(tiny.gpt)(tiny.config.gpt.model_copy(update={"context_width": 8})).eval()
    dice = torch.Generator().manual_seed(0)
    features = torch.randn(1, 5, 8, generator=dice)

    def pair() -> list[TokenDecoder]:
        quick = SamplingOptions(max_tokens=20)
        return [
            TokenDecoder(gpt, [1, 2, 3, 4, 5], quick, 1, context=features),
            TokenDecoder(gpt, [6, 7, 8], quick, 2),
        ]

    together, alone = pair(), pair()
    advance_together(together)
    for decoder in alone:
        decoder.advance()
    assert [d.tokens for d in together] == [d.tokens for d in alone]


def test_threads_do_not_mix_voices(pipeline: Pipeline) -> None:
    def say(number: int) -> np.ndarray:
        asked = options(number, max_tokens=25)
        return pipeline.synthesise(TEXTS[number % 3], someone(number), asked).audio

    wanted = [say(number) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(say, range(6)))
    assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_streams_side_by_side_do_not_mix(pipeline: Pipeline) -> None:
    def open_one(number: int) -> AudioStream:
        return pipeline.stream(TEXTS[2], someone(number), options(number, max_tokens=60))

    alone = [np.concatenate(list(open_one(n))) for n in (0, 1)]
    streams = (open_one(0), open_one(1))
    mixed: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for turn in range(200):
        chunk = next(streams[turn % 2], None)
        if chunk is not None:
            mixed[turn % 2].append(chunk)
    assert all(np.array_equal(np.concatenate(m), a) for m, a in zip(mixed, alone, strict=True))


def test_many_goes_through_the_gate(tiny: Bundle) -> None:
    made = tts.many(TEXTS[:2], someone(0), model=tiny, seed=1, watch=None, max_tokens=25)
    single = tts(TEXTS[1], someone(0), model=tiny, seed=1, watch=None, max_tokens=25)
    assert np.array_equal(made[1].tokens, single.tokens)
    assert tts.many([], model=tiny) == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"voice": ["a"]}, "2 texts, but 1 voices"),
        ({"batch_size": 0}, "need 1 or more"),
    ],
)
def test_what_does_not_fit(tiny: Bundle, call: dict, said: str) -> None:
    given = {"voice": someone(0), **call}
    with pytest.raises(ValueError, match=said):
        tts.many(["One.", "Two."], model=tiny, **given)
