"""The report as one HTML page: the template filled with players, pictures and tables.

In: a `Report`. Out: the page's text, with everything inside it. The sound goes in as MP3 through the
engine; attention maps are small PNGs drawn large on demand; all else is SVG and tables. Every picture of
attention says what ablating the head costs, or that it is correlational.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..engine import save
from ..synthesis import Synthesis
from ..text.inventory import sound
from . import attribution, figures
from .attribution import Attribution
from .figures import Bar, Cell, Sound, escape
from .reference import LookUp, Moment
from .tracing import PassageTrace

if TYPE_CHECKING:
    from .report import Report

PICTURES_BYTES = 1_500_000  # of all attention maps together
KINDS = ("alignment", "global", "speech", "mixed")
MEANING = {
    "alignment": "follows the phoneme being said",
    "global": "looks at the whole text",
    "speech": "looks at what has been said",
    "mixed": "a bit of everything",
}


def page(report: Report) -> str:
    """The whole page."""
    made = report.trace.synthesis
    parts = {
        "title": escape(_shortened(made.text)),
        "text": escape(made.text),
        "facts": _facts(report),
        "players": _players(report),
        "wave": figures.wave_svg(_sound(report)),
        "answers": _answers(report),
        "reference": _reference(report),
        "tokens": _tokens(report),
        "heads": _heads(report),
        "binding": _binding(report),
        "lens": _lens(report),
        "attributions": _attributions(report),
        "checks": _checks(report),
        "replay": _replay(report),
        "version": escape(__version__),
    }
    text = resources.files(__package__ or "").joinpath("report_template.html").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def _shortened(text: str, longest: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _sound(report: Report) -> Sound:
    made = report.trace.synthesis
    return Sound(made.audio, made.sample_rate, report.alignment.words, report.trace.f0)


def _facts(report: Report) -> str:
    made = report.trace.synthesis
    facts = {
        "model": made.model,
        "voice": made.voice or "-",
        "seed": made.seed,
        "length": f"{made.seconds:.2f} s",
        "tokens": len(made.tokens),
        "phonemes": len(made.phonemes),
        "words": len(made.words),
    }
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())


def _players(report: Report) -> str:
    takes = [("as spoken", report.trace.synthesis)]
    takes += [(take.label, take.synthesis) for take in report.takes]
    return "".join(
        f'<figure class="player"><figcaption>{escape(label)}</figcaption>'
        f'<audio controls preload="auto" src="{audio_uri(made)}"'
        f"{' data-main' if number == 0 else ''}></audio></figure>"
        for number, (label, made) in enumerate(takes)
    )


def audio_uri(made: Synthesis) -> str:
    """Speech as an MP3 inside the page, written by the engine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.mp3"
        save(made, path)
        return figures.data_uri(path.read_bytes(), "audio/mpeg")


def _answers(report: Report) -> str:
    if not report.answers:
        return ""
    rows = "".join(
        f"<li><p>{escape(answer.sentence)}</p><p class='claim'>{escape(answer.claim)}"
        + "".join(f" · {escape(k)} {v:.3g}" for k, v in answer.figures.items())
        + "</p></li>"
        for answer in report.answers
    )
    return f'<section id="why"><h2>Why</h2><ul class="answers">{rows}</ul></section>'


def _reference(report: Report) -> str:
    if not report.look_ups:
        return ""
    body = _moment_table("moments of the reference", "nothing alike", report.look_ups)
    text = (
        '<section id="reference"><h2>Reference</h2><p class="lead">Which moments of the recording a '
        "word's sound was looked up in, with their share of its look-ups. "
        f'<span class="claim">Correlational.</span></p>{body}'
    )
    if report.retrievals:
        text += (
            '<p class="lead">Which moments its fine detail was copied from, with their share of it; the rest '
            'is as the model predicted it. <span class="claim">By construction.</span></p>'
            + _moment_table("copied from", "as predicted", report.retrievals)
        )
    return f"{text}</section>"


def _moment_table(where: str, rest: str, found: Sequence[LookUp]) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.text)}</td><td>{one.start_s:.2f} s</td>"
        f"<td>{', '.join(_moment(moment) for moment in one.moments) or '-'}</td>"
        f"<td>{one.nothing:.0%}</td></tr>"
        for one in found
    )
    return (
        '<div class="scroll"><table><thead><tr>'
        f"<th>word</th><th>said at</th><th>{where}</th><th>{rest}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _moment(moment: Moment) -> str:
    return f"{moment.start_s:.2f}-{moment.end_s:.2f} s ({moment.weight:.0%})"


def _tokens(report: Report) -> str:
    step = report.trace.token_seconds
    cells = [
        Cell(
            row["token"],
            row["phoneme"],
            row["kind"],
            row["start_s"],
            row["start_s"] + step,
            row["entropy"],
            row["margin"],
            row["settled"],
        )
        for row in report.token_rows()
    ]
    layers = len(report.trace.models.gpt.blocks)
    strip = figures.strip_svg(cells, report.trace.synthesis.seconds, layers)
    order = sorted(cells, key=lambda cell: -cell.entropy)[:5]
    rows = "".join(
        f"<tr><td>{cell.start_s:.2f} s</td><td>{escape(cell.symbol)}</td>"
        f"<td>{cell.entropy:.2f}</td><td>{cell.margin:.2f}</td><td>{cell.token}</td></tr>"
        for cell in order
    )
    return (
        f'<div class="scroll">{strip}</div><p class="told" aria-live="polite">Point at a token, or '
        "step through them with the arrow keys.</p>"
        "<table><caption>Where the model hesitated most</caption><thead><tr><th>when</th>"
        "<th>phoneme</th><th>entropy, nats</th><th>margin, nats</th><th>token</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _heads(report: Report) -> str:
    table = report.heads
    counts = {kind: len(table.of_kind(kind)) for kind in KINDS}
    legend = " · ".join(
        f'<span class="tag {kind}">{kind}</span> {counts[kind]}, {MEANING[kind]}' for kind in KINDS
    )
    left = PICTURES_BYTES
    blocks = [f'<p class="legend">{legend}</p>']
    for part in report.trace.passages:
        drawn = _passage_heads(report, part)
        left -= len(drawn)
        if left < 0:
            rest = len(report.trace.passages) - part.passage.number
            blocks.append(
                f"<p>{rest} more passages are not drawn, to keep the page small; "
                "the numbers are in the JSON.</p>"
            )
            break
        blocks.append(drawn)
    return "".join(blocks)


def _passage_heads(report: Report, part: PassageTrace) -> str:
    passage = part.passage
    symbols = attribution.symbols(report.trace.spoken, passage)
    zero = report.trace.zero(passage)
    axes = escape(
        json.dumps(
            {
                "rows": symbols,
                "from": round(zero, 3),
                "to": round(zero + len(passage.tokens) * report.trace.token_seconds, 3),
                "words": _word_ticks(report, part),
            },
            ensure_ascii=False,
        )
    )
    rows = []
    for layer in range(part.attention.shape[0]):
        maps = "".join(_head(report, part, layer, head) for head in range(part.attention.shape[1]))
        rows.append(
            f'<div class="layer"><h4>layer {layer}</h4><div class="maps">{maps}</div></div>'
        )
    prior = "".join(
        _map(
            part.prior_attention[head].T, f"prior, head {head}", "the generator reads the text", ""
        )
        for head in range(len(part.prior_attention))
    )
    rows.append(
        f'<div class="layer"><h4>prior (generator)</h4><div class="maps">{prior}</div></div>'
    )
    first = " open" if passage.number == 0 else ""
    words = escape(_passage_text(report, part))
    return (
        f"<details{first} class='passage' data-axes=\"{axes}\"><summary>{words}</summary>"
        f"{''.join(rows)}</details>"
    )


def _passage_text(report: Report, part: PassageTrace) -> str:
    items = report.trace.synthesis.phonemes.items
    begin, end = items[part.passage.items[0]].start, items[part.passage.items[-1]].end
    return report.trace.synthesis.text[begin:end] or f"passage {part.passage.number}"


def _word_ticks(report: Report, part: PassageTrace) -> list[list[object]]:
    numbers = sorted({word for word in part.passage.words if word >= 0})
    words = report.alignment.words
    return [[words[n].text, round(words[n].start_s, 3), round(words[n].end_s, 3)] for n in numbers]


def _head(report: Report, part: PassageTrace, layer: int, head: int) -> str:
    table = report.heads
    kind = table.kind(layer, head)
    if table.effect is None:
        worth = "correlational"
    else:
        worth = f"without it −{table.effect[layer, head]:.3f} nats a token"
    text = f"text {table.text[layer, head]:.0%}, path {table.score[layer, head]:.0%}"
    picture = part.attention[layer, head].T.astype(np.float32)  # [P, S]
    return _map(picture, f"layer {layer}, head {head}", f"{worth}; {text}", kind)


def _map(picture: np.ndarray, name: str, told: str, kind: str) -> str:
    source = figures.data_uri(figures.matrix_png(picture.astype(np.float32)), "image/png")
    tag = f'<span class="tag {kind}">{kind}</span>' if kind else ""
    return (
        f'<button class="map" type="button" data-name="{escape(name)}" data-told="{escape(told)}" '
        f'data-kind="{kind}"><img src="{source}" alt="{escape(name)}: {escape(kind)} {escape(told)}">'
        f'<span class="name">{escape(name.split(", ")[-1])} {tag}</span>'
        f'<span class="worth">{escape(told.split(";")[0])}</span></button>'
    )


def _binding(report: Report) -> str:
    blocks = []
    for part in report.trace.passages[:3]:
        words = sorted({word for word in part.passage.words if word >= 0})
        names = [report.trace.synthesis.phonemes.words[w].text for w in words]
        if len(words) < 2:
            continue
        maps = "".join(
            _map(between_words(part, layer, words), f"layer {layer}", "mean of its heads", "")
            for layer in range(part.binding.shape[0])
        )
        axes = escape(json.dumps({"rows": names, "columns": names}, ensure_ascii=False))
        blocks.append(
            f'<div class="passage" data-axes="{axes}"><div class="maps square">{maps}</div></div>'
        )
    return "".join(blocks) or "<p>One word alone binds no other.</p>"


def between_words(part: PassageTrace, layer: int, words: Sequence[int]) -> np.ndarray:
    """Mean attention of a layer from words (rows) to words [W, W], pauses left out."""
    weights = part.binding[layer].astype(np.float64).mean(0)  # [P, P]
    owner = np.asarray(part.passage.words)
    member = np.stack([owner == word for word in words]).astype(np.float64)  # [W, P]
    rows = member / np.maximum(member.sum(1, keepdims=True), 1)
    return rows @ weights @ member.T


def _lens(report: Report) -> str:
    blocks = []
    for view, part in zip(report.lenses, report.trace.passages, strict=True):
        layers = len(view.rank)
        shown = 1.0 / (1.0 + view.rank)  # full ink: this layer's best token
        zero = report.trace.zero(part.passage)
        axes = {
            "rows": [f"layer {layer}" for layer in range(layers)],
            "from": round(zero, 3),
            "to": round(zero + view.rank.shape[1] * report.trace.token_seconds, 3),
            "words": _word_ticks(report, part),
        }
        rank = np.median(view.rank, axis=1)
        told = "; ".join(f"layer {i}: median rank {int(r)}" for i, r in enumerate(rank))
        blocks.append(
            f'<div class="passage" data-axes="{escape(json.dumps(axes, ensure_ascii=False))}">'
            f'<div class="maps wide">{_map(shown, "logit lens", told, "")}</div></div>'
        )
    return "".join(blocks)


def _attributions(report: Report) -> str:
    blocks = []
    for number, made in report.attributions:
        part = report.trace.passages[number]
        bars = figures.bars_svg(_bars(report, part, made), made.target)
        gap = "" if made.gap is None else f" · gap to the spoken tokens {made.gap:+.3g}"
        error = "not shared out, too small" if made.skipped else f"{made.completeness_error:.2%}"
        blocks.append(
            f"<figure><figcaption><b>{escape(made.unit)}s → {escape(made.target)}</b><br>"
            f"{made.baseline_value:.4g} at the baseline ({escape(made.baseline)}), "
            f"{made.value:.4g} as spoken · completeness error {error}{gap} · "
            f'<span class="claim">correlational; tested by deletion below</span></figcaption>'
            f'<div class="scroll">{bars}</div></figure>'
        )
    return "".join(blocks)


def _bars(report: Report, part: PassageTrace, made: Attribution) -> list[Bar]:
    items = report.trace.synthesis.phonemes
    if made.unit == "phoneme":
        words = [items.words[w].text if w >= 0 else "pause" for w in part.passage.words]
        return [
            Bar(unit, float(score), sound(unit).kind, f"in {word}")
            for unit, score, word in zip(made.units, made.scores, words, strict=True)
        ]
    symbols = [items.items[part.passage.items[place]].symbol for place in part.passage.path]
    bars = [
        Bar(symbol, float(score), sound(symbol).kind, f"token {unit}")
        for unit, score, symbol in zip(made.units, made.scores, symbols)
    ]
    return [*bars, Bar("speaker", float(made.scores[-1]), "speaker")]


def _checks(report: Report) -> str:
    rows = []
    for number, cut in report.deletions.items():
        rows.append(
            (
                f"passage {number}: top {cut.count} phonemes replaced",
                f"{cut.top:.2f} nats lost; {cut.random:.2f} for random ones "
                f"({cut.ratio:.1f}x); {cut.gradient:.2f} by gradient x input",
                "intervention",
            )
        )
    for number, made in report.attributions:
        rows.append(
            (
                f"passage {number}: {made.target}, scores against the difference",
                "skipped" if made.skipped else f"{made.completeness_error:.3%} missing",
                f"{made.steps} steps",
            )
        )
    rows += [
        (f"cost: {name}", f"{seconds:.2f} s", "wall clock") for name, seconds in report.cost.items()
    ]
    body = "".join(
        f"<tr><td>{escape(a)}</td><td>{escape(b)}</td><td>{escape(c)}</td></tr>" for a, b, c in rows
    )
    return (
        "<table><thead><tr><th>check</th><th>figure</th><th>by</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _replay(report: Report) -> str:
    made = report.trace.synthesis
    record = {
        "text": made.text,
        "voice": made.voice,
        "model": made.model,
        "seed": made.seed,
        "fingerprint": made.fingerprint,
        "edits": report.edits,
    }
    command = f"<pre><code>{escape(report.command)}</code></pre>" if report.command else ""
    return f"{command}<pre><code>{escape(json.dumps(record, ensure_ascii=False, indent=1))}</code></pre>"
