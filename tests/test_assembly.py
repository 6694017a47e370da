"""What a request has made so far: words end where their sound ends."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.assembly import Assembly
from voxray.text import TextPipeline


def test_no_word_lasts_into_the_silence_that_was_cut_off_behind_it() -> None:
    phonemes = TextPipeline()("Hi there.", "en")
    one, two = (
        next(i for i, item in enumerate(phonemes.items) if item.word == word) for word in (0, 1)
    )
    made = Assembly(1000)
    made.add(np.zeros(100, np.float32))  # 0.1 s are left of 0.2 s of tokens
    made.alignment.extend([one, one, two, two, two])
    made.place([0.0, 0.04, 0.08, 0.12, 0.16])
    first, second = made.word_times(phonemes)
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 0.08))
    assert (second.start_s, second.end_s) == pytest.approx((0.08, 0.1))
