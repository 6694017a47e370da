"""Mandarin numerals in characters: cardinals, decimals, digit strings (with 幺 for one if wanted)."""

from __future__ import annotations

_DIGITS = "零一二三四五六七八九"
_PLACES = ("", "十", "百", "千")
_SCALES = ("", "万", "亿", "万亿", "亿亿")


def digits(text: str, telephone: bool = False) -> str:
    """`2024` -> 二零二四; `telephone` says 幺 for one."""
    read = "".join(_DIGITS[int(d)] for d in text if d in "0123456789")
    return read.replace("一", "幺") if telephone else read


def cardinal(number: int) -> str:
    """`10500` -> 一万零五百."""
    if number < 0:
        return "负" + cardinal(-number)
    if number == 0:
        return "零"
    if number >= 10 ** (4 * len(_SCALES)):
        return digits(str(number))
    text = ""
    scale = 0
    while number:
        number, group = divmod(number, 10000)
        if group:
            gap = "零" if number and group < 1000 else ""
            text = gap + _group(group) + _SCALES[scale] + text
        elif text and not text.startswith("零"):
            text = "零" + text
        scale += 1
    return text[1:] if text.startswith("一十") else text


def _group(number: int) -> str:
    text, pending = "", False
    for place in (3, 2, 1, 0):
        digit = number // 10**place % 10
        if digit:
            text += ("零" if pending and text else "") + _DIGITS[digit] + _PLACES[place]
            pending = False
        else:
            pending = True
    return text


def decimal(text: str) -> str:
    """`-3.05` -> 负三点零五; commas between thousands allowed."""
    sign = "负" if text.startswith("-") else ""
    whole, _, fraction = text.lstrip("+-").replace(",", "").partition(".")
    words = sign + cardinal(int(whole or 0))
    return f"{words}点{digits(fraction)}" if fraction else words


def count(text: str) -> str:
    """A number before a measure word: `2` is 两, 2000 is 两千; 20 and 12 keep 二."""
    words = decimal(text)
    return "两" + words[1:] if words == "二" or words[:2] in ("二千", "二万", "二亿") else words
