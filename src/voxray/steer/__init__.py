"""Steering: edits as data, and what makes them act on a synthesis.

    from voxray import steer, tts

    louder = steer.Prosody(word="really", semitones=2, decibels=3)
    speech = tts("I really mean it.", "nova", edits=louder)
    (louder + steer.HeadGain(site="gpt.blocks.3.attn.z", head=1, gain=0.0)).save("edits.json")
    same = tts("I really mean it.", "nova", edits=steer.load("edits.json"))

The same seed means the same dice: what differs comes from the edits.
"""

from __future__ import annotations

from .checks import check, known_sites
from .concepts import Direction, learn
from .edits import (
    BUILTIN,
    Concept,
    Edit,
    Edits,
    Emphasis,
    HeadGain,
    Prosody,
    Repetition,
    load,
    parse,
)
from .loops import loop_share, looping
from .words import find_word

__all__ = [
    "BUILTIN",
    "Concept",
    "Direction",
    "Edit",
    "Edits",
    "Emphasis",
    "HeadGain",
    "Prosody",
    "Repetition",
    "check",
    "find_word",
    "known_sites",
    "learn",
    "load",
    "loop_share",
    "looping",
    "parse",
]
