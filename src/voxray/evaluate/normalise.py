"""Text as the judges compare it: spoken words (English) or characters (Mandarin), nothing else.

In: what was to be said, or what a recogniser wrote. Out: `readings`, the one to three ways in which
its numerals can be spoken, each a list of tokens; whoever compares takes the pair that fits best,
so that "1999" and "nineteen ninety-nine" are the same. It is independent of the front end under
test except for spelling out plain integers.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from ..text import numbers_en, numbers_zh
from .missing import JudgeMissing

HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
_TOKEN_EN = re.compile(r"[a-z0-9]+")
_TOKEN_ZH = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]|[a-z]+|[0-9]+")
_STYLES = ("cardinal", "pairs", "digits")

_WORDS_EN = {
    "mr": "mister", "mrs": "missus", "ms": "miss", "dr": "doctor", "ok": "okay",
    "cannot": "can not", "wont": "will not", "cant": "can not", "shant": "shall not",
    "alright": "all right",
    "grey": "gray", "centre": "center", "theatre": "theater", "cheque": "check", "tyre": "tire",
    "tyres": "tires", "kerb": "curb", "plough": "plow", "programme": "program", "mum": "mom",
    "jewellery": "jewelry", "pyjamas": "pajamas", "travelling": "traveling", "storey": "story",
    "travelled": "traveled", "traveller": "traveler", "defence": "defense", "licence": "license",
    "metre": "meter", "metres": "meters", "kilometre": "kilometer", "kilometres": "kilometers",
    "litre": "liter", "litres": "liters", "towards": "toward", "nought": "zero",
    "km": "kilometers", "kg": "kilograms", "cm": "centimeters", "mm": "millimeters",
}  # fmt: skip
_OUR = re.compile(r"\b(col|fav|flav|hon|neighb|harb|lab|behavi|hum|rum|vap|arm|sav|splend)our")
_ISE = re.compile(r"\b(real|organ|recogn|apolog|critic|memor|special|emphas)is(e|es|ed|ing)\b")
_CONTRACTED = (("n't", " not"), ("'m", " am"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"))
_SIGNS_EN = {
    "%": " percent ",
    "&": " and ",
    "+": " plus ",
    "@": " at ",
    "°": " degrees ",
    "=": " equals ",
}
_CURRENCY = {"$": ("dollars", "cents"), "£": ("pounds", "pence"), "€": ("euros", "cents")}
# What sounds the same and is written in several ways.
_SAME_ZH = str.maketrans("她它牠祂妳两〇幺地得", "他他他他你二零一的的")


def readings(text: str, language: str) -> list[list[str]]:
    """The ways to say `text`, as tokens: more than one only where it holds digits."""
    made: list[list[str]] = []
    for style in _STYLES:
        tokens = english(text, style) if language == "en" else mandarin(text, style)
        if tokens not in made:
            made.append(tokens)
    return made


def english(text: str, style: str = "cardinal") -> list[str]:
    """Lower-case words, American spelling, contractions and numerals written out."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'").replace("‘", "'")
    text = _money(re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
    for sign, word in _SIGNS_EN.items():
        text = text.replace(sign, word)
    text = text.replace("o'clock", " ").replace("can't", "can not").replace("won't", "will not")
    for ending, word in _CONTRACTED:
        text = text.replace(ending, word)
    text = re.sub(r"\b([a-z])\.(?=[a-z]\b)", r"\1", text).replace("'", "")
    text = re.sub(r"(\d)\s*:\s*00\b", r"\1 ", text)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", lambda m: f" {numbers_en.ordinal(int(m[1]))} ", text)
    text = re.sub(r"\d+(?:\.\d+)?", lambda m: f" {_number_en(m[0], style)} ", text)
    text = _ISE.sub(r"\1iz\2", _OUR.sub(r"\1or", text))
    words = _TOKEN_EN.findall(text)
    return " ".join(_WORDS_EN.get(word, word) for word in words).split()


def _money(text: str) -> str:
    def spoken(found: re.Match[str]) -> str:
        whole, part = _CURRENCY[found[1]]
        cents = f" and {found[3]} {part}" if found[3] else ""
        return f" {found[2]}{found[4] or ''} {whole}{cents} "

    return re.sub(r"([$£€])\s?(\d+)(?:\.(\d\d)\b)?(\.\d+| (?:m|b)illion)?", spoken, text)


def _number_en(digits: str, style: str) -> str:
    whole, _, fraction = digits.partition(".")
    if style == "digits" or len(whole) > 15 or (len(whole) > 1 and whole[0] == "0"):
        words = numbers_en.digits(whole)
    elif style == "pairs" and len(whole) == 4 and whole[1:3] != "00":
        words = _pair(whole)
    else:
        words = numbers_en.cardinal(int(whole)).replace(" and ", " ")
    return f"{words} point {numbers_en.digits(fraction)}" if fraction else words


def _pair(year: str) -> str:
    first, second = numbers_en.cardinal(int(year[:2])), int(year[2:])
    if second == 0:
        return f"{first} hundred"
    return (
        f"{first} oh {numbers_en.cardinal(second)}"
        if second < 10
        else f"{first} {numbers_en.cardinal(second)}"
    )


def mandarin(text: str, style: str = "cardinal") -> list[str]:
    """Simplified characters and Latin words; numerals written out, he/she/it written as one."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", _simplified(text))
    text = re.sub(r"(\d+(?:\.\d+)?)\s*%", r"百分之\1", text)
    text = re.sub(
        r"(\d{1,2}):(\d{2})", lambda m: f"{m[1]}点{m[2]}分" if int(m[2]) else f"{m[1]}点", text
    )
    text = re.sub(r"\d{4}(?=年)", lambda m: numbers_zh.digits(m[0]), text)
    text = re.sub(r"\d+(?:\.\d+)?", lambda m: _number_zh(m[0], style), text)
    return _TOKEN_ZH.findall(text.translate(_SAME_ZH))


def _number_zh(digits: str, style: str) -> str:
    whole, _, fraction = digits.partition(".")
    spelled = style == "digits" or len(whole) > 16 or (len(whole) > 1 and whole[0] == "0")
    words = numbers_zh.digits(whole) if spelled else numbers_zh.cardinal(int(whole))
    return f"{words}点{numbers_zh.digits(fraction)}" if fraction else words


def toneless(tokens: list[str]) -> list[str]:
    """Mandarin tokens -> syllables without tones, one a character; Latin words stay."""
    try:
        from pypinyin import lazy_pinyin
    except ModuleNotFoundError as error:
        raise JudgeMissing.package("pypinyin") from error
    made: list[str] = []
    run = ""
    for token in [*tokens, ""]:
        if token and HAN.match(token):
            run += token
            continue
        made += lazy_pinyin(run, v_to_u=False) if run else []
        run = ""
        made += [token] if token else []
    return made


@lru_cache(maxsize=1)
def _converter() -> Any:
    try:
        from opencc import OpenCC
    except ModuleNotFoundError as error:
        raise JudgeMissing.package("opencc") from error
    return OpenCC("t2s")


def _simplified(text: str) -> str:
    return _converter().convert(text) if HAN.search(text) else text
