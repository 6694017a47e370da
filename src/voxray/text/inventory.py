"""What each symbol is as a sound: its class, whether it is voiced or aspirated, its tone or
stress.

Used for the `kind` of every phoneme, for grouping explanations, and by tests that every
symbol the front end can emit is known. Mandarin `b d g` are unaspirated and voiceless,
unlike English `B D G`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from .symbols import CORE, PAD, PUNCTUATION, UNKNOWN

ENGLISH_VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
ENGLISH_VOICED = frozenset("B D DH G JH L M N NG R V W Y Z ZH".split())
ENGLISH_VOICELESS = frozenset("CH F HH K P S SH T TH".split())
MANDARIN_VOICED = frozenset("m n l r y w".split())
MANDARIN_ASPIRATED = frozenset("p t k q ch c".split())
MANDARIN_VOICELESS = MANDARIN_ASPIRATED | frozenset("b d g j zh z f h x sh s".split())
MANDARIN_INITIALS = MANDARIN_VOICED | MANDARIN_VOICELESS
ZERO_INITIALS = frozenset(("AA", "EE", "OO"))
PAUSES = frozenset((*PUNCTUATION, "SP", "SP2", "SP3"))

_TONED = re.compile(r"(?:E|En|i0|[a-z]+)([1-5])")


@dataclass(frozen=True)
class Sound:
    """Class of a symbol: `kind` is vowel, consonant, onset (zero initial), silence or other."""

    kind: str
    language: str | None = None
    voiced: bool = False
    aspirated: bool = False
    tone: int | None = None
    stress: int | None = None


@cache
def sound(symbol: str) -> Sound:
    """Class of one symbol; `other` for symbols of languages that the front end does not speak."""
    if symbol in PAUSES or symbol == PAD:
        return Sound("silence")
    if symbol in ZERO_INITIALS:
        return Sound("onset", "zh", voiced=True)
    if symbol in MANDARIN_INITIALS:
        voiced, aspirated = symbol in MANDARIN_VOICED, symbol in MANDARIN_ASPIRATED
        return Sound("consonant", "zh", voiced, aspirated)
    if symbol in ENGLISH_VOICED:
        return Sound("consonant", "en", voiced=True)
    if symbol in ENGLISH_VOICELESS:
        return Sound("consonant", "en", aspirated=symbol in ("P", "T", "K", "CH"))
    if symbol[:-1] in ENGLISH_VOWELS and symbol[-1] in "012":
        return Sound("vowel", "en", voiced=True, stress=int(symbol[-1]))
    toned = _TONED.fullmatch(symbol)
    if symbol in CORE and toned:
        return Sound("vowel", "zh", voiced=True, tone=int(toned[1]))
    return Sound("unknown" if symbol == UNKNOWN else "other")
