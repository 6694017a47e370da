"""English numerals in words: cardinals, ordinals, years, decimals, digit strings."""

from __future__ import annotations

_UNDER_20 = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = "_ thousand million billion trillion quadrillion quintillion".split()
_IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_LARGEST = 10**21


def cardinal(number: int, comma: bool = False) -> str:
    """`1250` -> one thousand two hundred fifty; `comma` puts a pause between the groups."""
    if number < 0:
        return "minus " + cardinal(-number, comma)
    if number >= _LARGEST:
        return digits(str(number))
    if number == 0:
        return "zero"
    groups: list[str] = []
    scale = 0
    while number:
        number, rest = divmod(number, 1000)
        if rest:
            groups.append(_under_1000(rest) + (f" {_SCALES[scale]}" if scale else ""))
        scale += 1
    return _joined(groups[::-1], comma)


def _joined(groups: list[str], comma: bool) -> str:
    if not comma or len(groups) < 2:
        return " ".join(groups)
    last = groups[-1]
    glue = ", " if " " in last else " "
    return ", ".join(groups[:-1]) + glue + last


def _under_1000(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [_UNDER_20[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        words.append(_TENS[tens] + (f"-{_UNDER_20[ones]}" if ones else ""))
    elif rest:
        words.append(_UNDER_20[rest])
    return " ".join(words)


def ordinal(number: int) -> str:
    """`22` -> twenty-second."""
    return _ordinal_of(cardinal(number))


def _ordinal_of(words: str) -> str:
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[cut:]
    if last in _IRREGULAR:
        return words[:cut] + _IRREGULAR[last]
    return words[:cut] + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year(number: int) -> str:
    """`1999` -> nineteen ninety-nine; `2005` -> two thousand five; `1900` -> nineteen hundred."""
    return cardinal(number) if number % 1000 < 10 else pairs(number)


def pairs(number: int) -> str:
    """`1001` -> ten oh one: the two halves of four digits; round thousands stay whole."""
    century, rest = divmod(number, 100)
    if not century % 10 and (not rest or (century == 20 and rest < 10)):
        return cardinal(number)
    if not rest:
        return cardinal(century) + " hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def plural(words: str) -> str:
    """`nineteen ninety` -> nineteen nineties."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


def digits(text: str) -> str:
    """`007` -> zero zero seven; characters that are no digits are left out."""
    return " ".join(_UNDER_20[int(d)] for d in text if d in "0123456789")


def decimal(text: str, comma: bool = False) -> str:
    """`3.05` -> three point zero five; commas between thousands allowed."""
    whole, _, fraction = text.replace(",", "").partition(".")
    words = cardinal(int(whole or 0), comma)
    return f"{words} point {digits(fraction)}" if fraction else words


def fraction(above: int, below: int) -> str:
    """`3, 4` -> three quarters."""
    if below == 2:
        return f"{cardinal(above)} {'half' if above == 1 else 'halves'}"
    part = "quarter" if below == 4 else ordinal(below)
    return f"{cardinal(above)} {part}{'s' if above != 1 else ''}"
