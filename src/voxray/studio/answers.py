"""What is said of a question or a file: the answer to "why?" with its figures, and what a file proves.

In: `Why` of `explain`, `Finding` of `trust`. Out: HTML strings, everything escaped. English sentences are
the library's own; the Chinese ones are put together here from the same numbers.
"""

from __future__ import annotations

from ..explain.figures import escape
from ..explain.why import Cause, Why
from ..trust.findings import MISSING, Line
from ..trust.verify import Finding
from .strings import Words

SHOWN_CAUSES = 6
TITLED = (
    "word", "mark", "head", "layer", "token", "prior head", "coupling", "dice", "speaker", "memory",
    "look-up", "retrieval",
)  # fmt: skip


def answer(made: Why, words: Words) -> str:
    """The answer to "why?", how far it can be trusted, and every cause beside it."""
    rows = "".join(
        f"<tr{' class=best' if cause is made.best else ''}><td>{escape(title(cause, words))}{' ✓' if cause.certain else ''}</td>"
        f"<td>{cause.effect:+.2f} {escape(words('unit.' + made.event.unit))}</td><td>{_interval(cause.interval)}</td>"
        f"<td>{cause.share:.0%}</td></tr>"
        for cause in made.causes[:SHOWN_CAUSES]
    )
    heads = "".join(
        f"<th>{escape(words('why.' + k))}</th>" for k in ("cause", "effect", "interval", "share")
    )
    return (
        f'<section class="answer"><p class="sentence">{escape(sentence(made, words))}</p>'
        f'<p class="faithful"><b>{escape(words("why.faithful"))}</b> {escape(faithful(made, words))}</p>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="facts">{escape(words("why.cost", draws=made.draws, seed=made.seed, seconds=f"{made.seconds:.1f}", count=len(made.causes)))}</p>'
        "</section>"
    )


def sentence(made: Why, words: Words) -> str:
    """The answer in one sentence."""
    if words.language == "en":
        return made.sentence
    event, best = made.event, made.best
    size = f"{abs(event.size):.2f}"
    told = words("event." + event.name, word=event.text, size=size)
    if best is None:
        strongest = title(made.causes[0], words) if made.causes else "–"
        return told + words("why.nobody", cause=strongest)
    return told + words("why.because", cause=title(best, words), share=f"{best.share:.0%}")


def title(cause: Cause, words: Words) -> str:
    """A cause in words."""
    if cause.kind not in TITLED:
        return cause.title
    return words("cause." + cause.kind, name=cause.name)


def faithful(made: Why, words: Words) -> str:
    """How much of the event goes away with the cause that is named, or that none may be named."""
    best = made.best
    if best is None:
        top = made.causes[0].share if made.causes else 0.0
        return words("why.none", share=f"{top:.0%}")
    return words(
        "why.gone", share=f"{best.share:.0%}", interval=_interval(best.interval), unit=words("unit." + made.event.unit),
        control=f"{best.control:.0%}",
    )  # fmt: skip


def _interval(found: object) -> str:
    low, high = getattr(found, "low", None), getattr(found, "high", None)
    return "–" if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]"


def finding(found: Finding, words: Words) -> str:
    """What is proven, likely and unknown of a file."""
    parts = [
        (kind, lines)
        for kind, lines in (
            ("warning", found.warnings), ("proven", found.proven), ("likely", found.likely),
            ("unknown", found.unknown),
        )
        if lines
    ]  # fmt: skip
    body = "".join(
        f'<section class="finding {kind}"><h4>{escape(words("verify." + kind))}</h4><ul>'
        + "".join(f"<li>{escape(told(line, words))}</li>" for line in lines)
        + "</ul></section>"
        for kind, lines in parts
    )
    state = verdict(found)
    return (
        f'<p class="verdict {state}" role="status">{escape(words("verify.is." + state))}</p>{body}'
    )


def told(line: Line, words: Words) -> str:
    """A finding in the page's language."""
    shown = {
        name: value or (words("missing." + name) if name in MISSING else "")
        for name, value in line.values.items()
    }
    return words("finding." + line.code, **shown)


def verdict(found: Finding) -> str:
    """`ours`, `others` (credentials of somebody else) or `unknown`."""
    if found.proven or (found.mark is not None and found.mark.present):
        return "ours"
    return "others" if found.credentials is not None and not found.credentials.broken else "unknown"
