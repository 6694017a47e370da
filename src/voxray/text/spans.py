"""Text that remembers where it came from.

Normalisation is a list of rewriting rules ("5kg" -> "five kilograms"). `SpanText` applies them and
keeps, for every character, the span in the user's text that it stands for: a replacement takes the
span of all that it replaced, an untouched character keeps its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(frozen=True)
class SpanText:
    """A string and, for each of its characters, a span in the original text."""

    text: str
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, text: str, offset: int = 0) -> SpanText:
        """Wrap original text; `offset` is where it begins in the whole."""
        return cls(text, tuple((offset + i, offset + i + 1) for i in range(len(text))))

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, part: slice) -> SpanText:
        return SpanText(self.text[part], self.spans[part])

    def span(self, start: int, end: int) -> Span:
        """Original span of characters [start, end)."""
        if start >= end:
            at = self.spans[start - 1][1] if start else (self.spans[0][0] if self.spans else 0)
            return at, at
        covered = self.spans[start:end]
        return min(s for s, _ in covered), max(e for _, e in covered)

    def sub(
        self, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str | None] | str
    ) -> SpanText:
        """Like `re.sub`; a function may return None to leave a match alone."""
        text: list[str] = []
        spans: list[Span] = []
        last = 0
        for match in pattern.finditer(self.text):
            new = match.expand(replace) if isinstance(replace, str) else replace(match)
            if new is None or new == match[0]:
                continue
            start, end = match.span()
            text.append(self.text[last:start])
            spans.extend(self.spans[last:start])
            text.append(new)
            spans.extend([self.span(start, end)] * len(new))
            last = end
        if not text:
            return self
        text.append(self.text[last:])
        spans.extend(self.spans[last:])
        return SpanText("".join(text), tuple(spans))

    def translate(self, table: dict[str, str]) -> SpanText:
        """Replace single characters; deletes where the table says ''."""
        text: list[str] = []
        spans: list[Span] = []
        for char, span in zip(self.text, self.spans, strict=True):
            new = table.get(char, char)
            text.append(new)
            spans.extend([span] * len(new))
        return SpanText("".join(text), tuple(spans))


def join(parts: Sequence[SpanText]) -> SpanText:
    """Concatenate."""
    return SpanText("".join(p.text for p in parts), tuple(s for p in parts for s in p.spans))
