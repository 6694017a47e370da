"""Known-good and known-bad clips: what any harness must be able to tell apart before it is believed.

From the recordings of a list's items: `real` (as it is), `shuffled words` (its pieces in another order:
words must be lost), `wrong speaker` (a stranger says a text of their own: only the voice is wrong) and
`silence`. `broken` names every order that came out wrong; an empty list means the judges can be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .judges import Wave
from .lists import Item
from .measure import Clip, heard
from .metrics import Figure
from .sets import RATE

REAL, SHUFFLED, STRANGER, SILENCE = "real", "shuffled words", "wrong speaker", "silence"
PIECE_SECONDS = 0.3  # about a word


def controls(items: Sequence[Item], seed: int = 0) -> dict[str, list[Clip]]:
    """The four sets; ValueError where the list has no recordings of its texts."""
    spoken = [item for item in items if item.truth is not None]
    if len(spoken) < 2:
        raise ValueError("controls need two items with a recording of their text (fifth field)")
    dice = np.random.default_rng(seed)
    made: dict[str, list[Clip]] = {REAL: [], SHUFFLED: [], STRANGER: [], SILENCE: []}
    for number, item in enumerate(spoken):
        assert item.truth is not None
        wave = heard(item.truth)
        made[REAL].append((item, 0, wave))
        made[SHUFFLED].append((item, 0, shuffled(wave, dice)))
        made[SILENCE].append((item, 0, np.zeros_like(wave)))
        others = [other for other in spoken if other.prompt != item.prompt]
        if others:
            other = others[(number + len(others) // 2) % len(others)]
            assert other.truth is not None
            stranger = replace(item, text=other.text, truth=None)
            made[STRANGER].append((stranger, 0, heard(other.truth)))
    return {name: clips for name, clips in made.items() if clips}


def shuffled(wave: Wave, dice: np.random.Generator, seconds: float = PIECE_SECONDS) -> Wave:
    """The wave's pieces in another order."""
    size = round(seconds * RATE)
    pieces = [wave[at : at + size] for at in range(0, len(wave), size)]
    order = dice.permutation(len(pieces))
    if (order == np.arange(len(pieces))).all():
        order = np.roll(order, 1)
    return np.concatenate([pieces[place] for place in order])


def broken(table: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """Orders between the rows that a harness must show and this one did not; rows may be missing."""
    real = table.get(REAL, {})
    wrong = []
    for row, measure, higher_is_worse in (
        (SHUFFLED, "error %", True),
        (SILENCE, "error %", True),
        (SILENCE, "lost %", True),
        (SILENCE, "natural", False),
        *((STRANGER, name, False) for name in real if name.startswith("similarity ")),
    ):
        good, bad = real.get(measure), table.get(row, {}).get(measure)
        if good is None or bad is None:
            continue
        if not (bad.value > good.value if higher_is_worse else bad.value < good.value):
            wrong.append(f"{measure}: {row} {bad.value:.2f} is no worse than real {good.value:.2f}")
    return wrong
