"""Telling synthetic speech from people's: `judge(wave, rate)`, with evidence in time and bands.

`matching` brings real and fake to the same band, rate, level and codec, so that none of these can
give anything away; `train` makes the weights; `defend` says which of our own outputs escape.
"""

from __future__ import annotations

from .detector import Judgement, Span, judge

__all__ = ["Judgement", "Span", "judge"]
