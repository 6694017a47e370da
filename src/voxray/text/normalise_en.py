"""English text as it is read aloud: abbreviations, dates, times, money, units, numbers, symbols.

In: a `SpanText` whose punctuation is plain ASCII. Out: the same with letters, apostrophes, spaces
and `, . ! ? - …` only; every spoken word keeps the span of what was written. Rules run in order,
the specific before the general.
"""

from __future__ import annotations

import re

from . import numbers_en as say
from .amounts_en import UNIT_RE, money, quantity
from .roman_en import RULES as ROMAN
from .rules import Rule, apply, rule
from .spans import SpanText

_MONTHS = "January February March April May June July August September October November December"
_MONTH = {name.lower(): name for name in _MONTHS.split()}
_MONTH |= {name[:3].lower(): name for name in _MONTHS.split() if name != "May"} | {
    "sept": "September"
}
_MONTH_RE = "|".join(sorted(_MONTH, key=len, reverse=True))
_YEAR = r"(?:,?\s+(?P<year>(?:1\d|20)\d\d)\b(?![,.]\d))?"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_ABBREVIATIONS = {
    "mr": "Mister", "mrs": "Missis", "ms": "Miz", "dr": "Doctor", "prof": "Professor",
    "st": "Saint", "jr": "Junior", "sr": "Senior", "gen": "General", "col": "Colonel",
    "capt": "Captain", "lt": "Lieutenant", "sgt": "Sergeant", "sen": "Senator", "rev": "Reverend",
    "gov": "Governor", "hon": "Honorable", "mt": "Mount", "ft": "Fort", "vs": "versus",
    "etc": "et cetera", "approx": "approximately", "dept": "department", "est": "established",
    "inc": "incorporated", "ltd": "limited", "corp": "corporation", "ave": "Avenue",
    "blvd": "Boulevard", "rd": "Road", "messrs": "Messieurs",
}  # fmt: skip
_BEFORE_A_NAME = "mr mrs ms dr prof st gen col capt lt sgt sen rev gov hon mt ft".split()
_SYMBOLS = {"&": " and ", "@": " at ", "%": " percent ", "+": " plus ", "=": " equals ",
            "≈": " is about ", "≤": " at most ", "≥": " at least ", "<": " less than ",
            ">": " greater than ", "×": " times ", "÷": " divided by ", "±": " plus or minus ",
            "√": " the square root of ", "°": " degrees ", "π": " pi ", "²": " squared ",
            "³": " cubed ", "μ": " micro ", "½": " one half ", "¼": " one quarter ",
            "¾": " three quarters ", "→": " to ", "©": " copyright ", "_": " ", "/": " slash ",
            "\\": " backslash ", "~": " about ", "¢": " cents "}  # fmt: skip
_BEFORE_A_NUMBER = {
    "fig": "figure", "vol": "volume", "ch": "chapter", "p": "page", "pp": "pages", "eq": "equation",
    "art": "article", "para": "paragraph", "ver": "version", "no": "number", "nos": "numbers",
}  # fmt: skip
_DAYS = {"mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday"}
_PARTS = {"½": "one half", "¼": "one quarter", "¾": "three quarters"}


def normalise(text: SpanText) -> SpanText:
    """Apply every rule."""
    return apply(_RULES, text)


def _time(match: re.Match[str]) -> str | None:
    hour, minute = int(match["hour"]), int(match["minute"])
    if hour > 24 or minute > 59:
        return None
    half = (match["half"] or "").lower()[:1]
    if not half and (hour > 12 or (hour == 0 and minute)):
        half = "p" if 12 < hour < 24 else "a"
        hour = hour % 12 or 12
    words = say.cardinal(hour)
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{say.cardinal(minute)}"
    elif not half:
        words += " o'clock"
    if match["second"]:
        words += f" and {say.cardinal(int(match['second']))} seconds"
    stop = _full_stop(match) if match[0].endswith(".") else ""
    return f"{words} {half.upper()} M{stop}" if half else words


def _month_day(match: re.Match[str]) -> str | None:
    day = int(match["day"])
    if not 1 <= day <= 31:
        return None
    until = f" to {say.ordinal(int(match['until']))}" if match["until"] else ""
    return f"{_MONTH[match['month'].lower()]} {say.ordinal(day)}{until}{_year(match)}"


def _day_month(match: re.Match[str]) -> str:
    day = say.ordinal(int(match["day"]))
    return f"the {day} of {_MONTH[match['month'].lower()]}{_year(match)}"


def _year(match: re.Match[str]) -> str:
    return f", {say.pairs(int(match['year']))}" if match["year"] else ""


def _iso_date(match: re.Match[str]) -> str | None:
    month, day = int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    name = _MONTHS.split()[month - 1]
    return f"{name} {say.ordinal(day)}, {say.year(int(match['year']))}"


def _telephone(match: re.Match[str]) -> str:
    return ", ".join(say.digits(group) for group in re.findall(r"\d+", match[0]))


def _mixed(match: re.Match[str]) -> str | None:
    whole, above, below = (int(group) for group in match.groups())
    if not 0 < above < below <= 100:
        return None
    return f"{say.cardinal(whole)} and {say.fraction(above, below)}"


def _fraction(match: re.Match[str]) -> str | None:
    above, below = int(match[1]), int(match[2])
    return say.fraction(above, below) if 1 < below <= 100 and above < 100 else None


def _whole(match: re.Match[str]) -> str:
    if len(match[0]) > 1 and match[0].startswith("0") and match[0].isdigit():
        return say.digits(match[0])
    if match[0].isdigit() and len(match[0]) > 12:
        return say.digits(match[0])
    return say.decimal(match[0])


def _abbreviation(match: re.Match[str]) -> str | None:
    word, follows = match[1].lower(), match.string[match.end() :]
    spoken: str | None = _ABBREVIATIONS[word]
    if word in _BEFORE_A_NAME and not re.match(r"\s*[A-Z&]", follows):
        spoken = {"st": "Street", "dr": "Drive"}.get(word)
    return spoken + _full_stop(match) if spoken else None


def _numbered(match: re.Match[str]) -> str:
    return _BEFORE_A_NUMBER[match[1].lower()] + " "


def _day_name(match: re.Match[str]) -> str:
    return _DAYS[match[1][:3].lower()] + _full_stop(match)


def _month_name(match: re.Match[str]) -> str:
    return _MONTH[match[1].lower()] + _full_stop(match)


def _full_stop(match: re.Match[str]) -> str:
    """A dot that ends an abbreviation ends the text too, if nothing follows."""
    return "" if match.string[match.end() :].strip() else "."


def _dotted(match: re.Match[str]) -> str:
    letters = " ".join(match[0].upper().replace(".", " ").split())
    return letters + _full_stop(match)


def _address(match: re.Match[str]) -> str:
    text = re.sub(r"^https?://", "", match[0])
    text = text.replace("www.", "w w w dot ")
    for mark, word in (
        (".", "dot"),
        ("@", "at"),
        ("/", "slash"),
        ("-", "dash"),
        ("_", "underscore"),
    ):
        text = text.replace(mark, f" {word} ")
    return text


_CASE = re.IGNORECASE
_RULES: tuple[Rule, ...] = (
    rule(r"https?://[\w./@-]*\w|www\.[\w./-]*\w|[\w.-]+@[\w-]+(?:\.[\w-]+)*\.\w+", _address),
    rule(
        r"\b(\w+)\.(com|org|net|edu|gov|io|ai|txt|pdf|py|js|exe|jpg|png|gif|mp3|mp4|wav|csv|json|html|zip|docx?)\b",
        r"\1 dot \2",
        _CASE,
    ),
    rule(r"\bi\.e\.", "that is", _CASE),
    rule(r"\be\.g\.", "for example", _CASE),
    rule(r"\bPh\.?\s?D\b\.?", lambda m: "P H D" + _full_stop(m) * m[0].endswith(".")),
    rule(r"\bet al\.(?=\s*[\w,])", "et al"),
    rule(r"(?<=[\dm])\s?[-~]\s?(?=\d{1,2}(?::\d\d)?\s?[ap]\.?m\b|\d{1,2}:\d\d)", " to ", _CASE),
    rule(r"\b(\d{1,2}):00\s*([ap])\.?m\b\.?", r"\1 \2m", _CASE),
    rule(
        r"\b(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?"
        r"(?:\s*(?P<half>[ap]\.?m\b\.?))?(?!\d)",
        _time,
        _CASE,
    ),
    rule(
        r"\b(\d{1,2})\s*([ap])\.?m\b\.?",
        lambda m: f"{say.cardinal(int(m[1]))} {m[2].upper()} M",
        _CASE,
    ),
    rule(r"\ba\.m\.", "A M", _CASE),
    rule(r"\bp\.m\.", "P M", _CASE),
    rule(r"\b(?:[A-Za-z]\.){2,}", _dotted),
    *ROMAN,
    rule(r"\b(" + "|".join(_BEFORE_A_NUMBER) + r")\.\s*(?=\d)", _numbered, _CASE),
    rule(r"#(?=\d)", "number "),
    rule(r"\b(" + "|".join(_ABBREVIATIONS) + r")\.(?=\s|,|$)", _abbreviation, _CASE),
    rule(
        rf"\b(?P<month>{_MONTH_RE})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b"
        rf"(?:\s?-\s?(?P<until>\d{{1,2}})(?:st|nd|rd|th)?\b)?{_YEAR}(?!:)",
        _month_day,
        _CASE,
    ),
    rule(
        rf"\b(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH_RE})\b"
        rf"(?:\.(?=\s*[\w,]))?{_YEAR}",
        _day_month,
        _CASE,
    ),
    rule(r"\b(Jan|Feb|Aug|Sept|Oct|Nov|Dec)\.(?=\s|,|$)", _month_name),
    rule(r"\b(Mon|Tues?|Weds?|Thu|Thurs?|Fri)\.(?=,|\s+[A-Z\d]|$)", _day_name),
    rule(r"\b(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})\b", _iso_date),
    rule(r"\b(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<day>\d{1,2})\b", _iso_date),
    rule(r"\b(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})\b", _iso_date),
    rule(
        r"(?:\+?\b\d{1,3}[ -]?)?(?:,\d{3},\s?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b|\+\d{1,3}(?:[ -]\d{2,5}){2,5}\b"
        r"|\b0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}\b|\b\d{3}-\d{4}\b|\b1[3-9]\d{9}\b"
        r"|\b(?<=[Cc]all )\d{3}\b|\b(?<=[Dd]ial )\d{3,}\b",
        _telephone,
    ),
    rule(r"\b24/7\b", "twenty-four seven"),
    rule(r"\b9/11\b", "nine eleven"),
    rule(rf"([$€£¥₹₩₽])\s?({_NUMBER})\s?[-~]\s?\1?(?=\d)", r"\2 to \1"),
    rule(
        rf"(?:US|USD)?(?P<sign>[$€£¥₹₩₽])\s?(?P<amount>{_NUMBER})"
        r"(?:\s?(?P<scale>thousand|million|billion|trillion|bn\b|[kmbt]\b))?",
        money,
        _CASE,
    ),
    rule(rf"(?P<amount>{_NUMBER})\s?(?P<sign>[€£¥₹₩₽])(?P<scale>)", money),
    rule(r"'?\b([2-9]0)s\b", lambda m: say.plural(say.cardinal(int(m[1])))),
    rule(r"\b(1\d\d0|20\d0)s\b", lambda m: say.plural(say.year(int(m[1])))),
    rule(r"\bC\+\+", "C plus plus"),
    rule(r"\b([CF])#(?!\d)", r"\1 sharp"),
    rule(r"(\d+)\^-(\d+)", r"\1 to the power of minus \2"),
    rule(r"(?<=[A-Za-z])-(?=\d)", " "),
    rule(r"(?<=\d)\s?[-−]\s?(?=\d+(?:\.\d+)?\s?=)", " minus "),
    rule(r"(?<=[\d%])\s?[-–~]\s?(?=\d)", " to "),
    rule(r"(?<![\w.])[-−](?=\d)", "minus "),
    rule(r"\b(\d)'\s?(\d{1,2})\b(?!')", r"\1 foot \2"),
    rule(rf"(?<![\w.])(?P<amount>{_NUMBER})\s?(?P<unit>{UNIT_RE})(?![\w'²³])", quantity),
    rule(rf"({_NUMBER})\s?%", lambda m: f"{say.decimal(m[1])} percent"),
    rule(rf"({_NUMBER})\s?‰", lambda m: f"{say.decimal(m[1])} per thousand"),
    rule(
        r"\b(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b",
        lambda m: say.ordinal(int(m[1].replace(",", ""))),
        _CASE,
    ),
    rule(r"(\d+)\^(\d+)", r"\1 to the power of \2"),
    rule(r"\b(\d+)\s(\d+)/(\d+)\b", _mixed),
    rule(r"\b(\d+)/(\d+)\b", _fraction),
    rule(r"(?<=\d)\s?([½¼¾])", lambda m: f" and {_PARTS[m[1]]}"),
    rule(r"(?<=\d)\s?x\s?(?=\d)", " by "),
    rule(r"\b(\d+):(\d+)\b", r"\1 to \2"),
    rule(r"\b(1[1-9]\d\d|20[1-9]\d)\b(?![,.]\d)", lambda m: say.year(int(m[1]))),
    rule(r"(?<=[A-Z])\d{3,}\b(?!\.\d)", lambda m: f" {say.digits(m[0])}"),
    rule(r"(?<![\d.])(\d+)\.(\d+)\.(\d+)(?![\d.])", r"\1 point \2 point \3"),
    rule(rf"(?:{_NUMBER})", lambda m: f" {_whole(m)} "),
    rule(r"[&@%+=≈≤≥<>×÷±√°π²³μ½¼¾→©_/\\~¢]", lambda m: _SYMBOLS[m[0]]),
)
