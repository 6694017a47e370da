"""Several takes of a sentence: how clear one is, which is kept, and that nothing else changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from conftest import speechlike
from voxray import engine, steer
from voxray import job as jobs
from voxray.batching import Order, speak_many
from voxray.bundle import Bundle
from voxray.decoding import Dice
from voxray.engine import check_options, tts
from voxray.explain.patching import _dice
from voxray.explain.tracing import trace
from voxray.job import Job
from voxray.models.recorded import WORTH
from voxray.pipeline import Pipeline
from voxray.sampling import derive
from voxray.takes import CLEAR, LEAST, Take, can_listen, clarity, odds_said, seed_of_take
from voxray.tokens.phones import PHONES_FILE, PhoneTable
from voxray.voice import Voice

TEXT = "We walked along the river until it was dark."
NAMES = torch.tensor([[2], [3], [4], [5]], dtype=torch.int16)  # code 0 is phoneme 2, ...
TABLE = PhoneTable(NAMES, torch.full((4, 1), 0.9).half())


def listener(codes: list[int]) -> Any:
    return SimpleNamespace(phones=TABLE, encode=lambda wave: torch.tensor(codes))


# --- what a code sounds like ----------------------------------------------------------------------


def test_a_table_holds_the_readouts_odds(listening: Bundle) -> None:
    table = listening.phones
    assert table is not None and len(table.phones) == listening.config.content.codebook_size  # type: ignore[union-attr]
    assert (table.odds[:, :-1] >= table.odds[:, 1:]).all() and (table.odds.sum(1) <= 1.01).all()
    first = int(table.phones[7, 0])
    heard = table.heard(torch.tensor([7]), torch.tensor([first, 0]))
    assert heard.shape == (1, 2) and heard[0, 0] == table.odds[7, 0].float()


def test_a_table_goes_with_its_model(listening: Bundle, tmp_path: Path) -> None:
    listening.save(tmp_path / "m")
    again = Bundle.load(tmp_path / "m")
    assert again.phones is not None and listening.phones is not None
    assert torch.equal(again.phones.phones, listening.phones.phones)
    assert can_listen(again)
    path = tmp_path / "m" / PHONES_FILE
    replace(listening.phones, phones=listening.phones.phones[:-1]).save(tmp_path / "m")
    with pytest.raises(ValueError, match="another model"):
        Bundle.load(tmp_path / "m")
    path.write_bytes(b"no table")
    with pytest.raises(ValueError, match="damaged"):
        Bundle.load(tmp_path / "m")
    path.unlink()
    assert not can_listen(Bundle.load(tmp_path / "m"))


# --- how clear a take is --------------------------------------------------------------------------


def test_what_is_heard_while_it_is_said_is_clear() -> None:
    wave, ids = speechlike(8 * 0.04), [2, 3, 4, 5]
    path = [0, 0, 1, 1, 2, 2, 3, 3]
    spoken = [0, 1, 2, 3]

    def heard(codes: list[int]) -> float:
        return clarity(odds_said(listener(codes), wave, 16_000, ids, spoken, path))

    right = heard([0, 0, 1, 1, 2, 2, 3, 3])
    assert right == pytest.approx(np.log(0.9), abs=1e-3) and right > CLEAR
    assert heard([0, 1, 1, 2, 2, 2, 3, 3]) == right  # a token early or late
    assert heard([0, 0, 0, 0, 2, 2, 3, 3]) == pytest.approx(
        (3 * np.log(0.9) + np.log(LEAST)) / 4, abs=1e-3
    )
    assert heard([3, 3, 3, 3, 0, 0, 0, 0]) == pytest.approx(np.log(LEAST))
    assert heard([0, 1, 2, 3]) == right  # twice as fast
    short = odds_said(listener([0]), wave[:100], 16_000, ids, spoken, path)
    assert short.shape == (4,)
    assert clarity(short) == pytest.approx(clarity(short[:0])) == pytest.approx(np.log(LEAST))
    mixed = odds_said(listener([0, 0, 0, 0, 2, 2, 3, 3]), wave, 16_000, ids, spoken, path)
    assert np.argmin(mixed) == 1  # it is known which phoneme was not heard


def take(value: float, *, whole: bool = True) -> Take:
    decoder: Any = SimpleNamespace(unmended=[] if whole else ["fault"], cut_off=False)
    return Take(0, decoder, None, np.zeros(0, np.float32), value)  # type: ignore[arg-type]


def test_a_take_without_fault_is_before_a_clearer_one_with_a_fault() -> None:
    ranked = sorted([take(-0.1, whole=False), take(-1.4), take(-0.3)], key=lambda one: one.rank)
    assert [one.clarity for one in ranked] == [-0.1, -1.4, -0.3]
    assert take(CLEAR).clear and not take(CLEAR - 0.1).clear and not take(-0.1, whole=False).clear


# --- in the chain ---------------------------------------------------------------------------------


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Takes are as clear as these numbers say, in turn."""
    given: list[float] = []
    monkeypatch.setattr(jobs, "clarity", lambda *asked: given.pop(0))
    return given


def test_the_clearest_take_is_said(listening: Bundle, voice: Voice, judged: list[float]) -> None:
    pipeline = Pipeline(listening, listening.text_pipeline())
    plain = check_options({"seed": 4, "max_tokens": 60})
    alone = pipeline.synthesise(TEXT, voice, plain)
    three = plain.model_copy(update={"takes": 3})
    judged[:] = [-2.0, -3.0, -4.0]
    first = pipeline.synthesise(TEXT, voice, three)
    assert np.array_equal(first.tokens, alone.tokens)
    assert np.allclose(first.audio, alone.audio, atol=1e-5)
    assert np.allclose(first.token_times, alone.token_times) and first.options["takes"] == 3
    judged[:] = [-2.0, -1.5, -4.0]
    second = pipeline.synthesise(TEXT, voice, three)
    assert not judged and not np.array_equal(second.tokens, alone.tokens)
    assert (first.takes, second.takes, alone.takes) == ([0], [1], [0])
    judged[:] = [-0.5, -0.1]
    assert np.array_equal(pipeline.synthesise(TEXT, voice, three).tokens, alone.tokens)
    assert judged == [-0.1]  # the first was clear: no other was made
    judged[:] = [-2.0, -1.5, -4.0]
    many = speak_many(pipeline, [Order(TEXT, voice, three)], 8)[0]
    assert np.array_equal(many.tokens, second.tokens)
    judged[:] = [-2.0, -1.5, -4.0]
    ahead = three.model_copy(update={"stream": "equal"})
    heard = np.concatenate(list(pipeline.stream(TEXT, voice, ahead)))
    assert np.array_equal(heard, second.audio)


def test_takes_are_made_beside_the_tokens_of_other_requests(
    listening: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {4: [-2.0, -1.5, -4.0], 5: [-0.2]}  # by seed
    seen: list[int] = []

    def heard(odds: np.ndarray, job: Job) -> float:
        seen.append(job.seed)
        return given[job.seed][seen.count(job.seed) - 1]

    real = Job.take

    def judged_take(self: Job, *asked: Any) -> Take:
        made = real(self, *asked)
        return replace(made, clarity=heard(made.odds, self))

    monkeypatch.setattr(Job, "take", judged_take)
    pipeline = Pipeline(listening, listening.text_pipeline())
    ahead = {"max_tokens": 60, "takes": 3, "stream": "equal"}
    asked = {seed: check_options({**ahead, "seed": seed}) for seed in given}
    alone = {s: np.concatenate(list(pipeline.stream(TEXT, voice, o))) for s, o in asked.items()}
    assert (seen.count(4), seen.count(5)) == (3, 1)
    seen.clear()
    streams = {s: pipeline.stream(TEXT, voice, o, shared=True) for s, o in asked.items()}
    chunks: dict[int, list[np.ndarray]] = {seed: [] for seed in given}
    empty = 0
    while streams:
        for seed, stream in list(streams.items()):
            chunk = next(stream, None)
            if chunk is None:
                del streams[seed]
            else:
                empty += not len(chunk)
                chunks[seed].append(chunk)
    assert (seen.count(4), seen.count(5)) == (3, 1) and empty > 10  # a step at each turn
    assert len(pipeline.pool) == 0
    for seed, own in chunks.items():
        assert np.allclose(np.concatenate(own), alone[seed], atol=1e-5)


def test_a_recorded_step_says_the_same(listening: Bundle, voice: Voice) -> None:
    three = check_options({"seed": 4, "max_tokens": 60, "takes": 3})
    made = []
    for steps in (0, WORTH):
        models = copy.deepcopy(listening)
        models.gpt.rows_stepped = steps
        made.append(Pipeline(models, models.text_pipeline()).synthesise(TEXT, voice, three))
        assert (models.gpt.recorded_rows is None) == (steps == 0)
    assert np.array_equal(made[0].tokens, made[1].tokens) and made[0].takes == made[1].takes
    assert np.allclose(made[0].audio, made[1].audio, atol=1e-4)


def test_sentences_side_by_side_say_the_same(
    listening: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "It was dark. [pause 200] Nobody came; so we went home. Why? He would not say. Well, well."
    )
    pipeline = Pipeline(listening, listening.text_pipeline())
    rows: list[int] = []
    together = jobs.advance_together

    def counted(decoders: Any, size: int) -> None:
        rows.append(len([one for one in decoders if not one.done]))
        together(decoders, size)

    monkeypatch.setattr(jobs, "advance_together", counted)
    asked = check_options({"seed": 4, "max_tokens": 60, "takes": 3})
    made = pipeline.synthesise(text, voice, asked)
    assert [n for n in rows if n] == [
        5,
        2,
        2,
        2,
        2,
        2,
    ]  # first takes; of each that is unclear two more
    rows.clear()
    ahead = asked.model_copy(update={"stream": "equal"})
    heard = np.concatenate(list(pipeline.stream(text, voice, ahead)))
    assert np.array_equal(heard, made.audio)
    assert [n for n in rows if n] == [1, 2, 2, 2, 2, 2, 2, 2]  # the first is not kept waiting
    monkeypatch.setattr(jobs, "SIDE_BY_SIDE", 1)
    alone = pipeline.synthesise(text, voice, asked)
    assert np.array_equal(alone.tokens, made.tokens) and alone.takes == made.takes
    assert np.allclose(alone.audio, made.audio, atol=1e-5) and alone.words == made.words


def test_takes_have_dice_of_their_own() -> None:
    assert len({seed_of_take(7, number, take) for number in (0, 1) for take in (0, 1, 2)}) == 6


def test_edits_change_what_would_have_been_said(
    listening: Bundle, voice: Voice, judged: list[float]
) -> None:
    judged[:] = 2 * [-2.0, -1.5, -4.0]
    three = {"model": listening, "seed": 4, "takes": 3, "max_tokens": 60}
    plain = tts(TEXT, voice, **three)
    nothing = steer.HeadGain(site="gpt.blocks.0.attn.z", head=0, gain=1.0)
    same = tts(TEXT, voice, edits=nothing, **three)
    assert not judged and plain.takes == same.takes == [1]
    assert np.array_equal(plain.tokens, same.tokens)
    assert np.allclose(plain.latents, same.latents, atol=1e-4)  # the marks in the sound differ


def test_an_explanation_is_of_the_take_that_was_said(
    listening: Bundle, voice: Voice, judged: list[float]
) -> None:
    judged[:] = [-2.0, -1.5, -4.0]
    opened = trace(TEXT, voice, model=listening, seed=4, takes=3, max_tokens=60)
    passage = opened.spoken.passages[0]
    assert passage.take == 1
    one = _dice(opened.spoken, passage, 0)[0]
    other = Dice(derive(seed_of_take(4, 0, 1), "try", 0), listening.gpt.config.codebook_size + 1)[0]
    assert torch.equal(one, other)


def test_what_is_heard_at_once_is_said_once(
    listening: Bundle, voice: Voice, judged: list[float]
) -> None:
    pipeline = Pipeline(listening, listening.text_pipeline())
    once = check_options({"seed": 4, "max_tokens": 60})
    three = once.model_copy(update={"takes": 3})
    early = np.concatenate(list(pipeline.stream(TEXT, voice, three)))
    assert np.array_equal(early, np.concatenate(list(pipeline.stream(TEXT, voice, once))))
    unwatched = three.model_copy(update={"watch": None})
    pipeline.synthesise(TEXT, voice, unwatched)  # nobody says when what is said


def test_who_cannot_listen_says_so(tiny: Bundle, voice: Voice) -> None:
    asked: list[engine.Request] = []
    leave = engine.register(before=asked.append)
    try:
        with pytest.raises(ValueError, match="takes must be 1"):
            tts(TEXT, voice, model=tiny, takes=2)
    finally:
        leave()
    assert not asked  # nothing was recorded of it
    with pytest.raises(ValueError, match="takes"):
        tts(TEXT, voice, model=tiny, takes=0)
    deaf = copy.deepcopy(tiny)
    deaf.config = deaf.config.model_copy(update={"takes": 3})  # its own number: nobody asked for it
    assert tts("It was dark.", voice, model=deaf, seed=1).takes == [0]


def test_a_model_has_a_number_of_its_own(
    listening: Bundle, voice: Voice, judged: list[float]
) -> None:
    listening.config = listening.config.model_copy(update={"takes": 2})
    judged[:] = [-2.0, -3.0]
    made = tts("It was dark.", voice, model=listening, seed=1)
    assert not judged and made.options["takes"] == 2
    tts("It was dark.", voice, model=listening, seed=1, takes=1)
