"""What the page shows beside Gradio's own parts: HTML and SVG strings, everything escaped.

In: takes, answers, findings, curves. Out: strings for `gr.HTML`. Times are data attributes (`data-from`,
`data-to`, `data-seconds`) that `studio.js` reads: it moves the cursor and says what was clicked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import audio
from ..explain.figures import WIDTH, Sound, escape, wave_svg
from ..notes import PAUSE, Note
from ..text.inventory import sound
from .actions import Spot, spots
from .strings import Words
from .takes import FORMATS, Take
from .tuning import Curve, Report

HOP = 0.01  # seconds between values of F0
PIXELS_PER_SECOND, LEAST_PIXELS = 130, 620  # narrower screens scroll
KINDS = ("vowel", "consonant", "onset", "silence")
STRIP_HEIGHT, BARS_HEIGHT = 78, 34


def note(text: str, kind: str = "info") -> str:
    """One line about how it went; errors are announced."""
    if not text:
        return ""
    role = "alert" if kind == "error" else "status"
    return f'<p class="note {kind}" role="{role}">{escape(text)}</p>'


def player(take: Take, words: Words, title: str = "") -> str:
    """Player, waveform with pitch and words, token strip, downloads."""
    made = take.synthesis
    tones = audio.f0(made.audio, made.sample_rate, HOP)
    wide = max(LEAST_PIXELS, round(made.seconds * PIXELS_PER_SECOND))
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    picture = wave_svg(Sound(made.audio, made.sample_rate, made.words, tones, HOP))
    return (
        f'<section class="take" data-take="{take.id}">{heading}'
        f'<audio controls preload="auto" src="/sound/{take.id}.wav"></audio>'
        f'<div class="scroll" tabindex="-1"><div style="min-width:{wide}px">{_turns(take)}{picture}'
        f"{strip(take, words)}</div></div>{_key(take, words)}{_facts(take, words)}</section>"
    )


def _turns(take: Take) -> str:
    """Of a script: who speaks when."""
    if not take.speakers:
        return ""
    whole = take.synthesis.seconds
    turns = "".join(
        f'<span style="left:{100 * a / whole:.2f}%;width:{100 * (b - a) / whole:.2f}%">'
        f"{escape(name)}</span>"
        for name, a, b in take.speakers
    )
    return f'<div class="turns">{turns}</div>'


def strip(take: Take, words: Words) -> str:
    """Tokens in time: colour is the sound's class, the bar above is the entropy of the choice."""
    made = take.synthesis
    if not len(made.tokens):
        return ""
    step = _token_seconds(take)
    entropy = take.entropy if take.entropy is not None else np.zeros(len(made.tokens))
    highest = max(float(entropy.max()), 1e-9)
    cells = "".join(
        _cell(take, number, step, float(entropy[number]), highest, words)
        for number in range(len(made.tokens))
    )
    title = escape(words("strip.title", count=len(made.tokens), nats=f"{highest:.1f}"))
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} {STRIP_HEIGHT}" role="img" '
        f'preserveAspectRatio="none" aria-label="{title}">{cells}'
        f'<line class="cursor" x1="0" x2="0" y1="0" y2="{STRIP_HEIGHT}"/></svg>'
    )


def _token_seconds(take: Take) -> float:
    """How long a token sounds: the median of the steps between them."""
    times = take.synthesis.token_times
    return float(np.median(np.diff(times))) if len(times) > 1 else take.synthesis.seconds


def _cell(
    take: Take, number: int, step: float, entropy: float, highest: float, words: Words
) -> str:
    made = take.synthesis
    symbol = made.phonemes.items[int(made.alignment[number])].symbol
    kind = sound(symbol).kind
    begin = float(made.token_times[number])
    scale = WIDTH / made.seconds
    tall = BARS_HEIGHT * entropy / highest
    told = words(
        "strip.token", token=int(made.tokens[number]), symbol=symbol, seconds=f"{begin:.2f}",
        nats=f"{entropy:.2f}",
    )  # fmt: skip
    after = made.token_times[number + 1 : number + 2]
    step = min(step, float(after[0]) - begin) if len(after) else step  # a cut-off start has no room
    x, wide = begin * scale, max(0.5, 0.9 * step * scale)
    return (
        f'<g class="token"><title>{escape(told)}</title>'
        f'<rect class="entropy" x="{x:.1f}" y="{BARS_HEIGHT - tall:.1f}" width="{wide:.1f}" '
        f'height="{max(tall, 0.5):.1f}"/><rect class="cell {escape(kind)}" x="{x:.1f}" '
        f'y="{BARS_HEIGHT + 3}" width="{wide:.1f}" height="38"/></g>'
    )


def _key(take: Take, words: Words) -> str:
    if not len(take.synthesis.tokens):
        return f'<p class="key"><span><i class="f0"></i>{escape(words("key.f0"))}</span></p>'
    kinds = "".join(f'<span><i class="{k}"></i>{escape(words("key." + k))}</span>' for k in KINDS)
    more = "".join(
        f'<span><i class="{k}"></i>{escape(words("key." + k))}</span>' for k in ("f0", "entropy")
    )
    return f'<p class="key">{more}{kinds}</p>'


def _facts(take: Take, words: Words) -> str:
    made = take.synthesis
    links = " · ".join(
        f'<a href="/sound/{take.id}.{kind}" download="speech-{made.seed}.{kind}">{kind.upper()}</a>'
        for kind in FORMATS
    )
    told = words(
        "facts", seconds=f"{made.seconds:.1f}", seed=made.seed, model=made.model,
        record=", ".join(take.records),
    )  # fmt: skip
    warnings = "".join(f"<li>{escape(noted(line, words))}</li>" for line in made.warnings)
    return f'<p class="facts">{escape(told)} · {escape(words("download"))} {links}</p>' + (
        f'<ul class="warnings">{warnings}</ul>' if warnings else ""
    )


def noted(line: str, words: Words) -> str:
    """A warning in the page's language; one without a code as it is."""
    if not isinstance(line, Note):
        return line
    shown = {k: words("note.pause") if v == PAUSE else v for k, v in line.values.items()}
    return words("note." + line.code, **shown)


def comparison(first: Take, second: Take, words: Words) -> str:
    """A and B word by word: length, pitch and level."""
    a, b = (
        spots(take.synthesis, audio.f0(take.synthesis.audio, take.synthesis.sample_rate, HOP))
        for take in (first, second)
    )
    told = words("compare.told", seed=first.synthesis.seed)
    if len(a) != len(b):
        return note(told)
    columns = ("word", "length", "pitch", "level")
    heads = "".join(f"<th>{escape(words('compare.' + c))}</th>" for c in columns)
    rows = "".join(_row(x, y) for x, y in zip(a, b, strict=True))
    return (
        f'<p class="facts">{escape(told)}</p><div class="scroll"><table class="compare"><thead><tr>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(a: Spot, b: Spot) -> str:
    cells = [
        (f"{a.seconds:.2f} → {b.seconds:.2f} s", abs(b.seconds - a.seconds) > 0.05),
        (f"{_hertz(a)} → {_hertz(b)}", _semitones(a, b) > 0.5),
        (f"{a.decibels:.0f} → {b.decibels:.0f} dB", abs(b.decibels - a.decibels) > 1.0),
    ]
    told = "".join(f"<td{' class=moved' if moved else ''}>{text}</td>" for text, moved in cells)
    return f"<tr><td>{escape(a.text)}</td>{told}</tr>"


def _hertz(spot: Spot) -> str:
    return f"{spot.hertz:.0f} Hz" if spot.hertz else "–"


def _semitones(a: Spot, b: Spot) -> float:
    return abs(12 * np.log2(b.hertz / a.hertz)) if a.hertz and b.hertz else 0.0


def changes(lines: Iterable[str], words: Words) -> str:
    """What is to be different, as a list."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    if not items:
        return f'<p class="facts">{escape(words("changes.none"))}</p>'
    return f'<ul class="changes">{items}</ul>'


def voices(rows: Sequence[tuple[str, str, str]], words: Words) -> str:
    """A table of one's own voices: name, kind, state of the consent."""
    if not rows:
        return f'<p class="facts">{escape(words("voices.none"))}</p>'
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(words('kind.' + kind))}</td>"
        f"<td>{escape(words('consent.' + state))}</td></tr>"
        for name, kind, state in rows
    )
    names = (words("voice.name"), words("voices.kind"), words("voices.consent"))
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def tuning(report: Report, words: Words) -> str:
    """How a fine-tune goes: its state, curves, and the last lines that it said."""
    if not report.name:
        return f'<p class="facts">{escape(words("tune.none"))}</p>'
    state = words("tune.is." + report.state, name=report.name, minutes=f"{report.seconds / 60:.1f}")
    plots = "".join(curve_svg(curve, words) for curve in report.curves)
    said = escape("\n".join(report.lines))
    return (
        f'<p class="verdict {report.state}" role="status">{escape(state)}</p>'
        f'<div class="curves">{plots}</div><pre class="said">{said}</pre>'
    )


def curve_svg(curve: Curve, words: Words, width: int = 300, height: int = 110) -> str:
    """One number over steps; its first, last and best value are written out."""
    steps = np.array([step for step, _ in curve.points], float)
    values = np.array([value for _, value in curve.points], float)
    line = _polyline(steps, values, width, height - 26)
    told = words(
        "tune.curve", first=f"{values[0]:.3g}", last=f"{values[-1]:.3g}", step=int(steps[-1])
    )
    return (
        f'<figure class="curve"><figcaption>{escape(curve.title)}</figcaption>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(curve.title)}: '
        f'{escape(told)}"><polyline points="{line}"/><text x="0" y="{height - 6}">{escape(told)}</text>'
        "</svg></figure>"
    )


def _polyline(x: NDArray[np.float64], y: NDArray[np.float64], width: int, height: int) -> str:
    across = (x - x[0]) / max(float(x[-1] - x[0]), 1e-9)
    up = (y - y.min()) / max(float(y.max() - y.min()), 1e-9)
    return " ".join(
        f"{4 + a * (width - 8):.1f},{4 + (1 - b) * (height - 8):.1f}"
        for a, b in zip(across.tolist(), up.tolist(), strict=True)
    )


def told_changes(
    text_words: Sequence[str], made: Mapping[str, Mapping[object, float]], words: Words
) -> list[str]:
    """The changes in words: by part, then by word, head or concept."""
    lines = []
    for part in ("emphasis", "attention"):
        for number, value in made.get(part, {}).items():
            place = int(str(number))
            name = text_words[place] if place < len(text_words) else str(number)
            lines.append(
                words(
                    "changes." + part,
                    name=name,
                    value=f"{value:+.2g}" if part == "emphasis" else f"{value:.2g}",
                )
            )
    lines += [
        words("changes.heads", name=k, value=f"{v:.2g}") for k, v in made.get("heads", {}).items()
    ]
    lines += [
        words("changes.concepts", name=k, value=f"{v:+.2g}")
        for k, v in made.get("concepts", {}).items()
    ]
    return lines
