"""Rewriting rules: a pattern and what it becomes, applied in order to a `SpanText`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .spans import SpanText

Replacement = Callable[[re.Match[str]], str | None] | str
Rule = tuple[re.Pattern[str], Replacement]


def rule(pattern: str, replace: Replacement, flags: int = 0) -> Rule:
    """Compile one rule; a function that returns None leaves its match alone."""
    return re.compile(pattern, flags), replace


def apply(rules: Iterable[Rule], text: SpanText) -> SpanText:
    """Apply rules in order."""
    for pattern, replace in rules:
        text = text.sub(pattern, replace)
    return text
