"""The reader can be trained again: examples line up with what was done, and the loss falls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers import speech

from voxray import audio
from voxray.trust.watermark import learn
from voxray.trust.watermark.reader import reader


def test_examples_line_up(tmp_path: Path) -> None:
    """The shipped reader, which knows nothing of these patterns, agrees with the targets."""
    audio.write_audio(tmp_path / "s.wav", speech(2.4), 24_000)
    examples = learn.prepare([tmp_path / "s.wav"], 0)
    with torch.inference_mode():
        odds = reader()(torch.from_numpy(examples.x.astype(np.float32))).numpy()
    assert odds.shape == examples.signs.shape
    agreement = float((np.sign(odds) == examples.signs).mean())
    assert agreement > 0.55


def test_two_steps_repeat(tmp_path: Path) -> None:
    audio.write_audio(tmp_path / "s.wav", speech(2.4), 24_000)
    examples = learn.prepare([tmp_path / "s.wav"], 0)
    first, second = (learn.fit(examples, 2).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
