"""`explain`: one synthesis, every explanation, one page that stands on its own.

In: text, voice, seed. Out: `Report`: trace, word times, head table with ablations, lens, attributions
with completeness and deletion, cost in seconds. `.save("x.html")` writes the page (no network, at most
3 MB), `.save("x.json")` every number, `.tables(folder)` CSV files, `.figures(folder)` PNG or SVG for
papers. Other tools add what they found as `Answer`s: a sentence, figures, and the claim behind it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..engine import tts
from ..models.generator import Generator
from ..packaged import home
from ..synthesis import Synthesis
from ..voice import Voice
from . import attribution, faithfulness, figures, heads, reference
from .alignment import Alignment, align
from .attribution import Attribution
from .faithfulness import Deletion
from .heads import HeadTable
from .lens import Lens, lens
from .memory import looks_up
from .properties import NAMES
from .reference import LookUp
from .tracing import PassageTrace, Trace, trace

LIMIT_BYTES = 3_000_000
QUICK_STEPS = 16
MOST_HEADS_ABLATED = 96
CORRELATIONAL = "correlational"


@dataclass(frozen=True)
class Answer:
    """Something found out about this synthesis; without a `claim` it is correlational."""

    sentence: str
    figures: dict[str, float] = field(default_factory=dict)
    claim: str = CORRELATIONAL


@dataclass(frozen=True)
class Take:
    """Another version to listen to beside the original: an edit's outcome."""

    label: str
    synthesis: Synthesis


@dataclass(frozen=True)
class Report:
    """All that was found, ready to be shown."""

    trace: Trace
    alignment: Alignment
    heads: HeadTable
    lenses: list[Lens]
    attributions: list[tuple[int, Attribution]]  # number of the passage, scores
    deletions: dict[int, Deletion]
    cost: dict[str, float]  # seconds
    answers: list[Answer] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)
    edits: list[dict[str, Any]] = field(default_factory=list)  # as data, to replay
    command: str = ""
    look_ups: list[LookUp] = field(default_factory=list)  # of models that remember the reference
    retrievals: list[LookUp] = field(default_factory=list)  # of those that copy fine latents of it

    def save(self, path: str | Path) -> None:
        """Write the page (.html) or the numbers (.json), whole or not at all."""
        target = Path(path)
        if target.suffix == ".json":
            text = json.dumps(self.to_json(), ensure_ascii=False, indent=1)
        elif target.suffix in (".html", ".htm"):
            from .page import page  # the page needs the report, not the other way round

            text = page(self)
            if len(text.encode()) > LIMIT_BYTES:
                raise ValueError(
                    f"the page would have {len(text.encode()) / 1e6:.1f} MB, more than "
                    f"{LIMIT_BYTES / 1e6:.0f}: explain a shorter text, or save the numbers as .json"
                )
        else:
            raise ValueError(f"a report's name ends in .html or .json, not {target.name!r}")
        write(target, text)

    def to_json(self) -> dict[str, Any]:
        """Every number."""
        made = self.trace.synthesis
        return {
            **made.report(),
            "command": self.command,
            "voice_source": self.trace.spoken.voice.source,
            "alignment": {
                "heads": [list(head) for head in self.alignment.heads],
                "words": [_time_row(w.text, w.start_s, w.end_s) for w in self.alignment.words],
                "phonemes": [
                    _time_row(p.symbol, p.start_s, p.end_s) for p in self.alignment.phonemes
                ],
            },
            "heads": {"claim": self.heads.claim, "rows": self.heads.rows()},
            "tokens": [dict(row) for row in self.token_rows()],
            "attributions": [
                {"passage": number, **made.to_json()} for number, made in self.attributions
            ],
            "deletion": {str(number): _deletion(cut) for number, cut in self.deletions.items()},
            "look_ups": [found.to_json() for found in self.look_ups],
            "retrievals": [found.to_json() for found in self.retrievals],
            "answers": [vars(answer) for answer in self.answers],
            "edits": self.edits,
            "cost_seconds": {name: round(value, 3) for name, value in self.cost.items()},
        }

    def token_rows(self) -> Iterator[dict[str, Any]]:
        """One dict a token: when, what phoneme, entropy, margin, rank by layer."""
        made = self.trace.synthesis
        for view, part in zip(self.lenses, self.trace.passages, strict=True):
            for place, token in enumerate(part.passage.tokens):
                number = view.first + place
                symbol = made.phonemes.items[int(self.alignment.path[number])]
                yield {
                    "token": token,
                    "start_s": round(float(made.token_times[number]), 4),
                    "phoneme": symbol.symbol,
                    "kind": symbol.kind,
                    "entropy": round(float(view.entropy[-1, place]), 4),
                    "margin": round(float(view.margin[place]), 4),
                    "settled": int(view.settled[place]),
                    "ranks": view.rank[:, place].tolist(),
                }

    def tables(self, folder: str | Path) -> list[Path]:
        """words.csv, phonemes.csv, heads.csv, tokens.csv, attributions.csv in a folder."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        numbers = self.to_json()
        scores = [
            {"passage": made["passage"], "target": made["target"], "unit": unit, "score": score}
            for made in numbers["attributions"]
            for unit, score in zip(made["units"], made["scores"], strict=True)
        ]
        tables = {
            "words": numbers["alignment"]["words"],
            "phonemes": numbers["alignment"]["phonemes"],
            "heads": numbers["heads"]["rows"],
            "tokens": numbers["tokens"],
            "attributions": scores,
        }
        made = []
        for name, rows in tables.items():
            if rows:
                write(target / f"{name}.csv", _csv(rows))
                made.append(target / f"{name}.csv")
        return made

    def figures(self, folder: str | Path, kind: str = "png") -> list[Path]:
        """The alignment heads' attention as figures for a paper."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        made = []
        for part in self.trace.passages:
            symbols = attribution.symbols(self.trace.spoken, part.passage)
            seconds = len(part.passage.tokens) * self.trace.token_seconds
            for layer, head in self.alignment.heads:
                name = target / f"passage{part.passage.number}-layer{layer}-head{head}.{kind}"
                picture = part.attention[layer, head].T.astype(np.float32)
                figures.paper(name, picture, symbols, f"layer {layer}, head {head}", seconds)
                made.append(name)
        return made


def _time_row(text: str, start: float, end: float) -> dict[str, Any]:
    return {"text": text, "start_s": round(start, 4), "end_s": round(end, 4)}


def _deletion(made: Deletion) -> dict[str, Any]:
    return {
        "deleted": made.count,
        "top_drop": made.top,
        "random_drop": made.random,
        "gradient_drop": made.gradient,
        "ratio": made.ratio,
        "curve": list(made.curve),
        "claim": "phonemes replaced, teacher-forced",
    }


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def write(target: Path, text: str) -> None:
    """A text file, whole or not at all."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, target)
    except OSError as error:
        raise OSError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def explain(
    text: str,
    voice: Voice | str | Path | None = None,
    *,
    seed: int = 0,
    model: Bundle | str | Path | None = None,
    full: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Report:
    """Say a text and explain how it came about. `full` adds pitch, energy and likeness (minutes)."""
    clock = Clock(progress)
    with clock("synthesis and trace"):
        opened = trace(text, voice, seed=seed, model=model, **options)
    kept = heads.load_heads(home(model)) if isinstance(model, (str, Path)) else []
    return report_of(opened, full=full, aligned_by=kept or None, clock=clock)


def report_of(
    opened: Trace,
    *,
    full: bool = False,
    aligned_by: Sequence[tuple[int, int]] | None = None,
    clock: Clock | None = None,
) -> Report:
    """Explain a synthesis that has been opened; `aligned_by`: the heads to read times from."""
    clock = clock or Clock()
    with clock("alignment"):
        found = align(opened, aligned_by)
    config = opened.models.gpt.config
    with clock("heads and ablations"):
        table = heads.describe(opened, ablate=config.n_head * config.n_layer <= MOST_HEADS_ABLATED)
    with clock("logit lens"):
        lenses = lens(opened)
    found_there: list[LookUp] = []
    taken: list[LookUp] = []
    if isinstance(opened.models.generator, Generator) and looks_up(opened.spoken):
        with clock("look-ups in the reference"):
            found_there = reference.look_ups(opened)
            taken = reference.retrievals(opened) if reference.retrieves(opened.spoken) else []
    made: list[tuple[int, Attribution]] = []
    cuts: dict[int, Deletion] = {}
    for part in opened.passages:
        with clock("attribution"):
            scores = attribution.text_to_tokens(opened.spoken, part.passage, steps=QUICK_STEPS)
            made.append((part.passage.number, scores))
        if len(part.passage.ids) >= 5:
            with clock("deletion test"):
                cuts[part.passage.number] = faithfulness.deletion(
                    opened.spoken, part.passage, scores.scores
                )
        if full:
            with clock("pitch, energy, likeness"):
                made.extend((part.passage.number, more) for more in _sound(opened, part))
    return Report(
        opened,
        found,
        table,
        lenses,
        made,
        cuts,
        clock.spent,
        look_ups=found_there,
        retrievals=taken,
    )


def _sound(opened: Trace, part: PassageTrace) -> Iterator[Attribution]:
    """The slower attributions, of models with a variational generator."""
    for name in ("pitch", "energy"):
        yield attribution.text_to_sound(opened.spoken, part.passage, name)
    for name in NAMES:
        if name == "speaker" and opened.models.generator.fusion is not None:
            continue
        yield attribution.generator_to_sound(opened.spoken, part.passage, name)


def with_edits(report: Report, edits: Any, label: str = "edited") -> Report:
    """The same report with a second player: the text said with edits of `voxray.steer`, same dice."""
    speech = report.trace.spoken
    kept = {
        name: getattr(speech.options, name)
        for name in type(speech.options).model_fields
        if name not in ("seed", "edits")
    }
    made = tts(
        speech.synthesis.text,
        speech.voice,
        model=speech.models,
        seed=speech.synthesis.seed,
        edits=edits,
        **kept,
    )
    return replace(
        report, takes=[*report.takes, Take(label, made)], edits=[*report.edits, *edits.record()]
    )


class Clock:
    """Books seconds under names; says what begins."""

    def __init__(self, progress: Callable[[str], None] = lambda _: None) -> None:
        self.spent: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._progress(name)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began
