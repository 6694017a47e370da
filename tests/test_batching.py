"""Many texts side by side are each what they are alone; streams join and leave; nothing mixes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from voxray.batching import Order, speak_many
from voxray.bundle import Bundle
from voxray.decoding import TokenDecoder
from voxray.engine import check_options, tts
from voxray.models.packed import can_pack, pack_linears
from voxray.pipeline import AudioStream, Pipeline, SynthesisOptions
from voxray.sampling import SamplingOptions
from voxray.token_pool import TokenPool, advance_together
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


def test_the_batch_stays_full(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    step = pipeline.models.gpt.step_rows
    monkeypatch.setattr(
        pipeline.models.gpt, "step_rows", lambda token, cache: rows.append(len(token)) or step(token, cache)
    )  # fmt: skip
    many = [Order(TEXTS[i % 3], someone(0), options(i)) for i in range(5)]
    speak_many(pipeline, many, 2)
    assert max(rows) == 2 and rows.count(2) > 0.7 * len(rows)  # another takes an ended one's place


def test_watched_texts_stand_beside_others(pipeline: Pipeline) -> None:
    """`tiny` has guided heads: each row keeps to its own window, and is drawn again on its own."""
    asked = [
        Order(text, someone(i), check_options({"seed": i, "watch": None if i == 2 else {"stall": 6}}))
        for i, text in enumerate(TEXTS)
    ]  # fmt: skip
    alone = [pipeline.synthesise(o.text, o.voice, o.options) for o in asked]
    for one, other in zip(speak_many(pipeline, asked), alone, strict=True):
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.alignment, other.alignment) and one.warnings == other.warnings
    assert any("drawn again" in said for one in alone for said in one.warnings), "redraws were met"


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
    advance_together(together, 8)
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


def streamed(pipeline: Pipeline, number: int, *, shared: bool) -> AudioStream:
    asked = check_options({"seed": number, "max_tokens": 70})
    return pipeline.stream(TEXTS[number % 5], someone(number), asked, shared=shared)


def test_streams_join_and_leave_one_pass(pipeline: Pipeline) -> None:
    """Begun at different times, one closed on the way: all others are what they are alone."""
    alone = {n: streamed(pipeline, n, shared=False) for n in range(7)}
    sound = {n: np.concatenate(list(stream)) for n, stream in alone.items()}
    live: dict[int, AudioStream] = {}
    heard: dict[int, list[np.ndarray]] = {n: [] for n in range(7)}
    widest, turn = 0, 0
    while live or turn < 30:
        if turn % 4 == 0 and turn // 4 < 7:
            live[turn // 4] = streamed(pipeline, turn // 4, shared=True)
        if turn == 20:
            live.pop(2).close()
        for number in list(live):
            chunk = next(live[number], None)
            if chunk is None:
                assert np.array_equal(
                    live.pop(number).synthesis.tokens, alone[number].synthesis.tokens
                )
            else:
                heard[number].append(chunk)
        widest, turn = max(widest, len(pipeline.pool)), turn + 1
    assert widest >= 3 and len(pipeline.pool) == 0
    for number in {*range(7)} - {2}:
        assert np.allclose(np.concatenate(heard[number]), sound[number], atol=1e-5), number


def test_a_failure_stays_with_its_own(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = streamed(pipeline, 0, shared=True), streamed(pipeline, 1, shared=True)
    next(good), next(bad)
    (broken,) = [d for d in pipeline.pool._goals if d.seed != next(iter(pipeline.pool._goals)).seed]
    monkeypatch.setattr(broken, "take", lambda logits: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(bad)
    monkeypatch.undo()
    list(good)
    assert np.array_equal(good.synthesis.tokens, pipeline.synthesise(
        TEXTS[0], someone(0), check_options({"seed": 0, "max_tokens": 70})).tokens)  # fmt: skip
    assert len(pipeline.pool) == 0


@pytest.mark.skipif(not can_pack(), reason="no packed kernels on this processor")
def test_int8_stands_apart(tiny: Bundle) -> None:
    """Its scale is one for all rows of a pass: side by side they would change each other."""
    from copy import deepcopy

    gpt = deepcopy(tiny.gpt)
    pool = TokenPool(gpt)
    decoder = TokenDecoder(gpt, [1, 2, 3], SamplingOptions(), 1)
    assert pool.takes(decoder)
    wide = torch.nn.Linear(256, 256)
    gpt.final_norm = torch.nn.Sequential(wide)
    pack_linears(gpt, "int8")
    assert not TokenPool(gpt).takes(decoder)


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
