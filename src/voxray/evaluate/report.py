"""The goals and the table: figures beside what they must reach, as Markdown.

A `Table` maps (row, language, kind) to figures; goals that lean on the teacher take its figure on
the same kind of text. A figure that could not be measured is said to be so; it fails nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .harness import Score, summarise
from .metrics import Figure

Key = tuple[str, str, str]  # row, language, kind
Table = dict[Key, dict[str, Figure]]
BUILT_IN, ZERO_SHOT, CROSS = "built-in", "zero-shot", "cross-language"
TEACHER, REAL, OWN = "teacher", "real", "own speech"
PLAIN, LENGTHS = "sentence", ("sentence", "long", "paragraph")
JUDGES = ("wespeaker", "eres2net")
ERROR_ROOM = {BUILT_IN: 3.0, ZERO_SHOT: 6.0}  # points above the teacher
RUN_ROOM = {BUILT_IN: 2.0, ZERO_SHOT: 4.0}
SIMILARITY = {BUILT_IN: 0.85, ZERO_SHOT: 0.5}
NATURAL = {BUILT_IN: 3.0, ZERO_SHOT: 2.9}
IDENTIFIED, LEAKED = 80.0, 1.0
STEPS = (0.0, 1.2, 2.4, 4.0, 9.0, math.inf)  # seconds of a clip, where likeness is told by length
CROSS_POINTS, CROSS_SIMILARITY = 3.0, 0.1


@dataclass(frozen=True)
class Verdict:
    """A figure beside its goal. `met` is None where one of the two is not known."""

    row: str
    language: str
    kind: str
    measure: str
    figure: Figure | None
    bound: float
    at_most: bool
    goal: str

    @property
    def met(self) -> bool | None:
        """Whether the figure reaches the goal."""
        if self.figure is None or math.isnan(self.figure.value) or math.isnan(self.bound):
            return None
        return self.figure.value <= self.bound if self.at_most else self.figure.value >= self.bound


def tabulate(scores: Iterable[Score]) -> Table:
    """Figures of every row, language and kind; short texts count among the sentences."""
    groups: dict[Key, list[Score]] = defaultdict(list)
    for score in scores:
        kind = PLAIN if score.kind == "short" else score.kind
        groups[score.row, score.language, kind].append(score)
    return {key: summarise(group) for key, group in groups.items()}


def same_texts(scores: Sequence[Score]) -> list[Score]:
    """The scores of texts that the teacher has said too: what may be compared with its figures."""
    known = {(score.language, score.id) for score in scores if score.row == TEACHER}
    return [score for score in scores if (score.language, score.id) in known]


def verdicts(scores: Sequence[Score]) -> list[Verdict]:
    """Every goal of the release, for the rows that were scored."""
    table, paired = tabulate(scores), tabulate(same_texts(scores))
    made: list[Verdict] = []
    for (row, language, kind), figures in table.items():
        if row in (BUILT_IN, ZERO_SHOT):
            key = (row, language, kind)
            source, mark = (paired, "") if key in paired else (table, " (on its own texts)")
            made += _against_teacher(source, key, mark)
        if kind == PLAIN and row in (BUILT_IN, ZERO_SHOT):
            made += _alone(row, language, figures)
        if kind == PLAIN and row == CROSS:
            made += _cross(table, language, figures)
    return made


def _against_teacher(table: Table, key: Key, mark: str) -> Iterator[Verdict]:
    row, language, kind = key
    teacher = table.get((TEACHER, language, kind))
    if teacher is None or kind not in LENGTHS:
        return
    rooms = {"error": ERROR_ROOM, "lost or repeated": RUN_ROOM}
    if language == "zh":
        rooms["pinyin"] = ERROR_ROOM
    for measure, room in rooms.items():
        base = teacher[measure].value if measure in teacher else math.nan
        goal = f"<= {base:.1f} + {room[row]:.0f}{mark}"
        figure = table[key].get(measure)
        yield Verdict(row, language, kind, measure, figure, base + room[row], True, goal)


def _alone(row: str, language: str, figures: dict[str, Figure]) -> Iterator[Verdict]:
    def least(measure: str, bound: float, text: str) -> Verdict:
        return Verdict(
            row, language, PLAIN, measure, figures.get(measure), bound, False, f">= {text}"
        )

    for judge in JUDGES:
        yield least(f"similarity {judge}", SIMILARITY[row], f"{SIMILARITY[row]}")
        if row == ZERO_SHOT:
            yield least(f"identified {judge}", IDENTIFIED, f"{IDENTIFIED:.0f} %")
    yield least("dnsmos", NATURAL[row], f"{NATURAL[row]}")
    leaked = figures.get("leaked")
    yield Verdict(row, language, PLAIN, "leaked", leaked, LEAKED, True, f"<= {LEAKED:.0f} %")


def _cross(table: Table, language: str, figures: dict[str, Figure]) -> Iterator[Verdict]:
    same = table.get((ZERO_SHOT, language, PLAIN), {})
    # A speaker's likeness is compared with the row of the speaker's own language.
    theirs = table.get((ZERO_SHOT, "zh" if language == "en" else "en", PLAIN), {})

    def value(source: dict[str, Figure], measure: str) -> float:
        return source[measure].value if measure in source else math.nan

    for measure in ("error", "pinyin") if language == "zh" else ("error",):
        bound = value(same, measure) + CROSS_POINTS
        goal = f"<= {value(same, measure):.1f} + {CROSS_POINTS:.0f}"
        yield Verdict(CROSS, language, PLAIN, measure, figures.get(measure), bound, True, goal)
    for measure in (f"similarity {judge}" for judge in JUDGES):
        bound = value(theirs, measure) - CROSS_SIMILARITY
        goal = f">= {value(theirs, measure):.2f} - {CROSS_SIMILARITY}"
        yield Verdict(CROSS, language, PLAIN, measure, figures.get(measure), bound, False, goal)


def _shown(measure: str, figure: Figure | None) -> str:
    if figure is None or math.isnan(figure.value):
        return "not measured"
    fine = measure.split()[0] in ("similarity", "cosine", "dnsmos", "rtf")
    form = ".2f" if fine else ".1f"
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"


def goals_table(made: list[Verdict]) -> str:
    """Goal beside figure, as a Markdown table."""
    words = {True: "yes", False: "**no**", None: "-"}
    lines = ["| row | language | texts | measure | figure [95 %] | goal | met |", "|" + "---|" * 7]
    lines += [
        f"| {v.row} | {v.language} | {v.kind} | {v.measure} | {_shown(v.measure, v.figure)} "
        f"| {v.goal} | {words[v.met]} |"
        for v in made
    ]
    return "\n".join(lines)


def figures_table(table: Table) -> str:
    """Every row's figures, as a Markdown table."""
    names = sorted({name for figures in table.values() for name in figures})
    lines = ["| row | language | texts | clips | " + " | ".join(names) + " |"]
    lines.append("|" + "---|" * (4 + len(names)))
    for (row, language, kind), figures in table.items():
        clips = max((figure.count for figure in figures.values()), default=0)
        cells = [_shown(name, figures[name]) if name in figures else "" for name in names]
        lines.append(f"| {row} | {language} | {kind} | {clips} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def likeness_by_length(scores: Sequence[Score]) -> str:
    """Similarity of clips of like length: short speech is less like anybody, its own speaker included."""
    lines = ["| row | language | seconds | clips | " + " | ".join(JUDGES) + " |"]
    lines.append("|---|---|---|" + "---|" * (1 + len(JUDGES)))
    for row in (BUILT_IN, OWN, ZERO_SHOT):
        for language in sorted({score.language for score in scores if score.row == row}):
            for low, high in pairwise(STEPS):
                clips = [
                    s for s in scores
                    if (s.row, s.language) == (row, language) and low <= s.seconds < high
                ]  # fmt: skip
                if not clips:
                    continue
                figures = summarise(clips)
                shown = [_shown(n, figures.get(n)) for n in (f"similarity {j}" for j in JUDGES)]
                span = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} and more"
                lines.append(
                    f"| {row} | {language} | {span} | {len(clips)} | {' | '.join(shown)} |"
                )
    return "\n".join(lines)


def page(title: str, facts: dict[str, str], parts: dict[str, str]) -> str:
    """A Markdown page: what was run, where and when, then its sections."""
    lines = [f"# {title}", "", *(f"- {name}: {value}" for name, value in facts.items())]
    for heading, body in parts.items():
        lines += ["", f"## {heading}", "", body]
    return "\n".join(lines) + "\n"
