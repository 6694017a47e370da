"""The watch: it follows, mends skips and stalls, and guards the end (planted truth)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scripted import ScriptedGPT
from voxray.decoding import TokenDecoder
from voxray.sampling import SamplingOptions
from voxray.watch import Watch, WatchOptions

WORDS = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, -1]  # five words and a full stop
STOP = len(WORDS) - 1
OPTIONS = SamplingOptions(floor=0, max_tokens=400, top_k=1000)


def steady(step: int) -> int:
    return min(step // 3, STOP)  # three tokens a phoneme


def decoder(
    plan: Callable[[int, int], int],
    ends: Callable[[int], bool] = lambda step: False,
    options: WatchOptions | None = None,
) -> TokenDecoder:
    watch = Watch(WORDS, [(0, 1)], options)
    gpt = ScriptedGPT(plan, ends)
    return TokenDecoder(gpt, range(1, len(WORDS) + 1), OPTIONS, seed=1, watch=watch)


def test_the_pointer_follows_the_guided_head() -> None:
    made = decoder(lambda attempt, step: steady(step), lambda step: step >= 3 * STOP + 5)
    made.advance()
    assert made.watch.path == [steady(step) for step in range(3 * STOP + 5)]
    assert not made.redraws and not made.unmended and not made.cut_off


def test_skipped_words_are_drawn_again() -> None:
    def plan(attempt: int, step: int) -> int:
        return 13 if attempt == 0 and step >= 8 else steady(step)

    made = decoder(plan, lambda step: step >= 3 * STOP + 5)
    made.advance()
    assert [fault.kind for fault in made.redraws] == ["skip"]
    assert not made.unmended
    assert sorted(set(made.watch.path)) == list(range(STOP + 1)), "every phoneme is said"
    assert made.watch.words[made.watch.path[made.gpt.prefills[1]]] <= made.redraws[0].words[0]


def test_a_skip_that_stays_is_reported() -> None:
    made = decoder(lambda attempt, step: 14 if step >= 8 else steady(step), lambda step: step > 40)
    made.advance()
    assert len(made.redraws) == WatchOptions().tries
    assert made.unmended and made.unmended[0].kind == "skip"
    assert made.done


def test_a_stall_is_drawn_again_and_in_the_end_pushed_on() -> None:
    def once(attempt: int, step: int) -> int:
        return 6 if attempt == 0 and step >= 18 else steady(step)

    made = decoder(once, lambda step: step >= 3 * STOP + 5)
    made.advance()
    assert [fault.kind for fault in made.redraws] == ["stall"] and not made.unmended
    stuck = decoder(lambda attempt, step: min(steady(step), 6))
    stuck.advance()
    assert len(stuck.redraws) == WatchOptions().tries
    assert stuck.done and {fault.kind for fault in stuck.unmended} == {"stall"}
    assert stuck.watch.pointer >= stuck.watch.last_spoken


def test_the_end_waits_for_the_last_phonemes() -> None:
    made = decoder(lambda attempt, step: steady(step), lambda step: True)
    made.advance()
    assert made.watch.path[-1] >= STOP - 3 and len(made.tokens) == 39  # 13 phonemes before it


def test_the_end_is_forced_on_a_model_that_never_ends() -> None:
    made = decoder(lambda attempt, step: steady(step))
    made.advance()
    patience = WatchOptions().end_patience
    assert made.done and not made.cut_off
    assert len(made.tokens) <= 3 * STOP + patience + 1


def test_tokens_that_are_sound_already_are_never_taken_back() -> None:
    made = decoder(
        lambda attempt, step: 13 if attempt == 0 and step >= 8 else steady(step),
        lambda step: step >= 3 * STOP + 5,
    )
    made.advance(10)
    made.commit(10)
    before = list(made.tokens)
    made.advance()
    assert made.tokens[:10] == before


def test_the_window_keeps_the_head_near() -> None:
    watch = Watch(WORDS, [(0, 1)])
    watch.observe(torch.nn.functional.one_hot(torch.tensor(9), len(WORDS)).float())
    assert watch.pointer == 0, "outside the window there is nothing to see"
    watch.observe(torch.nn.functional.one_hot(torch.tensor(3), len(WORDS)).float())
    assert watch.pointer == 3
    watch.observe(torch.nn.functional.one_hot(torch.tensor(2), len(WORDS)).float())
    assert watch.pointer == 3, "never back"


def test_a_style_reference_stands_before_the_text() -> None:
    watch = Watch([-1, -1, -1, 0, 0, -1], [(0, 0)], first=3)
    assert watch.pointer == 3 and watch.window(3) == (3, 6)


@pytest.mark.parametrize("count", [1, 2])
def test_texts_of_one_or_two_phonemes_end(count: int) -> None:
    gpt = ScriptedGPT(lambda attempt, step: 0)
    watch = Watch([0] * count, [(0, 1)])
    made = TokenDecoder(gpt, range(1, count + 1), OPTIONS, seed=1, watch=watch)
    made.advance()
    assert made.done and made.tokens
