"""Loops of tokens: going round is the fault that autoregressive speech is known for.

In: tokens [S]. `looping` asks of the newest tokens, `loop_share` of a whole utterance.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_PERIOD = 12
LEAST = 8  # tokens (320 ms) that must repeat what came a period before; a held vowel is shorter


def looping(tokens: Sequence[int]) -> bool:
    """Whether the newest tokens repeat with a short period."""
    return any(_periodic(tokens, period) for period in range(1, LONGEST_PERIOD + 1))


def _periodic(tokens: Sequence[int], period: int) -> bool:
    length = max(LEAST, period)
    if len(tokens) < length + period:
        return False
    tail = tokens[-length:]
    return list(tail) == list(tokens[-length - period : -period])


def loop_share(tokens: Sequence[int]) -> float:
    """Share of an utterance's tokens that stand in a loop."""
    inside = [False] * len(tokens)
    for end in range(1, len(tokens) + 1):
        for period in range(1, LONGEST_PERIOD + 1):
            if _periodic(tokens[:end], period):
                for place in range(end - max(LEAST, period) - period, end):
                    inside[place] = True
    return sum(inside) / len(tokens) if len(tokens) else 0.0
