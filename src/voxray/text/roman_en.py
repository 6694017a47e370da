"""Roman numerals of English text: after what is counted (Chapter IV) and after a ruler's name (Henry VIII).

A numeral elsewhere stays letters: VI and MIX are words and names, too. `I` is a number only before a mark
or a small word, for "the part I like" is not Part One.
"""

from __future__ import annotations

import re

from . import numbers_en as say
from .rules import Rule, rule

_COUNTED = (
    "Chapter Part Section Volume Book Act Scene War Phase Type Appendix Figure Table Article Level"
    " Stage Episode Season Bowl Apollo Mark Division Category Title Class"
).split()
_RULERS = (
    "Henry Louis Charles George Edward Elizabeth James William Richard Paul Pius Leo Benedict Gregory"
    " Innocent Clement Urban Napoleon Philip Ferdinand Frederick Alexander Catherine Nicholas Peter"
    " Ivan Otto Wilhelm Rudolf Ramesses Mary Margaret Haakon Harald Gustav Akihito"
).split()
_NUMERAL = r"(?P<numeral>X{0,3}(?:IX|IV|VI{0,3}|I{1,3})|X{1,3})\b"
_ENDS = re.compile(r"\s*(?:$|[,.:;!?-])|\s+(?:of|and|or|was|is|in|began|ended|had)\b")
_VALUES = {"I": 1, "V": 5, "X": 10}


def value(numeral: str) -> int:
    """`XIV` -> 14."""
    values = [_VALUES[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(v if v >= ahead else -v for v, ahead in zip(values, following, strict=True))


def _is_number(match: re.Match[str]) -> bool:
    return match["numeral"] != "I" or bool(_ENDS.match(match.string, match.end()))


def _counted(match: re.Match[str]) -> str | None:
    return f"{match['name']} {say.cardinal(value(match['numeral']))}" if _is_number(match) else None


def _ruler(match: re.Match[str]) -> str | None:
    number = say.ordinal(value(match["numeral"]))
    return f"{match['name']} the {number}" if _is_number(match) else None


RULES: tuple[Rule, ...] = (
    rule(rf"\b(?P<name>{'|'.join(_COUNTED)})\s+{_NUMERAL}", _counted),
    rule(rf"\b(?P<name>{'|'.join(_RULERS)})\s+{_NUMERAL}", _ruler),
)
