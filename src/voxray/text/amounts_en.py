"""English amounts in words: money and measured quantities.

In: matches with the groups `amount` and `sign`, `scale` (money) or `unit`. Out: words, singular after
exactly one; what a unit counts is made plural (square meters, miles per hour).
"""

from __future__ import annotations

import re

from . import numbers_en as say

UNITS = {
    "km/h": "kilometer per hour", "kmh": "kilometer per hour", "mph": "mile per hour",
    "m/s": "meter per second", "km": "kilometer", "cm": "centimeter", "mm": "millimeter",
    "nm": "nanometer", "kg": "kilogram", "mg": "milligram", "lb": "pound", "lbs": "pound",
    "oz": "ounce", "ft": "foot", "mi": "mile", "ml": "milliliter", "mL": "milliliter",
    "hr": "hour", "hrs": "hour", "min": "minute", "mins": "minute", "sec": "second",
    "secs": "second", "ms": "millisecond", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz",
    "GHz": "gigahertz", "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte",
    "TB": "terabyte", "kW": "kilowatt", "kWh": "kilowatt hour", "°C": "degree Celsius",
    "°F": "degree Fahrenheit", "°": "degree", "px": "pixel", "dpi": "dot per inch",
    "fps": "frame per second", "dB": "decibel", "m²": "square meter", "km²": "square kilometer",
    "m": "meter", "g": "gram", "l": "liter", "L": "liter", "h": "hour", "s": "second", "W": "watt",
    "V": "volt", "in": "inch", "yd": "yard", "kbps": "kilobit per second", "Mbps": "megabit per second",
    "Gbps": "gigabit per second", "mAh": "milliamp hour", "m³": "cubic meter", "cm²": "square centimeter",
    "MW": "megawatt", "kcal": "kilocalorie", "rpm": "revolution per minute",
}  # fmt: skip
_CLOSE_UNITS = frozenset("m g l L h s W V in".split())  # letters and words of their own
UNIT_RE = "|".join(sorted((re.escape(u) for u in UNITS), key=len, reverse=True))
_AFTER_HEAD = frozenset(("per", "Celsius", "Fahrenheit"))
_IRREGULAR_PLURAL = {"foot": "feet", "inch": "inches", "hertz": "hertz", "kilohertz": "kilohertz",
                     "megahertz": "megahertz", "gigahertz": "gigahertz"}  # fmt: skip
MONEY = {
    "$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"),
    "¥": ("yuan", "fen"), "₹": ("rupee", "paisa"), "₩": ("won", "jeon"), "₽": ("ruble", "kopek"),
}  # fmt: skip
_UNCOUNTED = {"yuan": "yuan", "fen": "fen", "won": "won", "jeon": "jeon", "penny": "pence",
              "paisa": "paise"}  # fmt: skip
_SCALE_WORDS = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion", "t": "trillion"}


def many(amount: str, unit: str) -> str:
    """The unit as it follows an amount: `2`, `square meter` -> square meters."""
    if amount in ("1", "1.0", "1.00"):
        return unit
    words = unit.split(" ")
    head = 0 if words[1:] and words[1] in _AFTER_HEAD else len(words) - 1
    counted = words[head]
    words[head] = _IRREGULAR_PLURAL.get(counted, _UNCOUNTED.get(counted, counted + "s"))
    return " ".join(words)


def money(match: re.Match[str], comma: bool = False) -> str:
    """`$3.50` -> three dollars and fifty cents; `comma` puts pauses between the groups."""
    major, minor = MONEY[match["sign"]]
    amount, scale = match["amount"], match["scale"]
    whole, _, cents = amount.replace(",", "").partition(".")
    if scale or len(cents) > 2:
        word = f" {_SCALE_WORDS.get(scale.lower(), scale)}" if scale else ""
        return f"{say.decimal(amount)}{word} {_UNCOUNTED.get(major, major + 's')}"
    parts: list[str] = []
    if int(whole or 0) or not int(cents or 0):
        parts.append(f"{say.cardinal(int(whole or 0), comma)} {many(whole or '0', major)}")
    if int(cents or 0):
        hundredths = int(cents.ljust(2, "0"))
        parts.append(f"{say.cardinal(hundredths)} {many(str(hundredths), minor)}")
    return " and ".join(parts)


def quantity(match: re.Match[str]) -> str | None:
    """`5kg` -> five kilograms; units that are letters or words of their own must touch the number."""
    unit, amount = match["unit"], match["amount"]
    if unit in _CLOSE_UNITS and " " in match[0]:
        return None
    return f"{say.decimal(amount)} {many(amount, UNITS[unit])}"
