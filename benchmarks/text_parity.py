"""Agreement with the recorded front end of the published models, in five languages.

    python benchmarks/text_parity.py [--parity DIR] [--quick] [--languages zh,en,ja,ko,yue,mix]
        [--japanese-dictionary DIR] [--json OUT] [--table OUT] [--show]

Counts the sentences whose phones are all equal to the recorded ones: a language by itself (fields
v1 and v2), the whole path with its modes and mixed text (front_v1, front_v2), and voxray's own
reading of English and Mandarin for comparison. The goals hold for v2; exit status 1 where one
is missed, 2 where the recordings are not there. A language whose packages are missing is
left out, visibly.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from voxray.text import PublishedPipeline, TextPipeline

GOAL = {"zh": 0.98, "en": 0.95, "ja": 0.98, "ko": 0.98, "yue": 0.98}
DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "parity" / "text"
REASONS = {
    "is unlisted; theirs is first cut into listed words (package wordsegment)": (
        "en-pub-019 en-pub-021"
    ),
    "is unlisted; equal with the package g2p_en installed": "en-pub-036 en-pub-038",
    "a lone sign (¥ ‰ ℃ ％ /) becomes an English segment there": (
        "zh-pub-012 zh-pub-014 zh-pub-053 zh-pub-055 yue-pub-007 yue-pub-027 ja-pub-024 ja-pub-043"
        " ja-pub-050 ja-pub-057 ko-pub-035"
    ),
    "their segments lose a comma or a sign": (
        "zh-pub-013 zh-pub-018 zh-pub-047 yue-pub-039 yue-pub-045 yue-pub-051 yue-pub-056 mix-pub-037"
        " mix-pub-043 mix-pub-049 mix-pub-055 mix-pub-061"
    ),
    "an emoji is a segment of its own there, or takes the letters before it along": (
        "zh-pub-020 mix-pub-025"
    ),
    "letters of a formula or an address are cut elsewhere": "zh-pub-033 zh-pub-046 mix-pub-021",
    "the language model calls a short Chinese stretch Japanese": (
        "mix-pub-017 mix-pub-024 mix-pub-034 mix-pub-039 mix-pub-041 mix-pub-045 mix-pub-047 mix-pub-051"
        " mix-pub-053 mix-pub-057 mix-pub-059"
    ),
    "the language model calls Chinese what stands after one kana": (
        "mix-pub-040 mix-pub-046 mix-pub-052 mix-pub-058"
    ),
    "we take 你好 before kana for Chinese, and 2024年 without kana for Chinese": (
        "mix-pub-002 mix-pub-013"
    ),
    "one digit before an English word is English there, several are not": "mix-pub-027",
    "words glued by the dropped letters between them are one unlisted word there": (
        "mix-pub-011 mix-pub-012 mix-pub-016 mix-pub-026"
    ),
}
OWN = (
    "The rows `voxray` are our own reading, with no goal: it says signs, letters and addresses that the recorded"
    " one drops, reads ranges, times and 一 in numbers by other rules, and English by other dictionaries."
)
Reading = Callable[[str], list[str] | list[int]]


@dataclass(frozen=True)
class Row:
    """One line of the table; `phones` is 1 - edit distance / recorded phones."""

    language: str
    convention: str
    sentences: int
    equal: int
    agreement: float
    phones: float
    differing: list[str]


def edits(ours: list, theirs: list) -> int:
    """Levenshtein distance."""
    row = list(range(len(theirs) + 1))
    for i, a in enumerate(ours, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(theirs, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def compare(
    name: str, convention: str, read: Reading, cases: list[tuple[str, str, list]], show: bool
) -> Row:
    """Run one reading over (id, text, recorded) cases."""
    differing: list[str] = []
    wrong = total = 0
    for case, text, theirs in cases:
        try:
            ours = read(text)
        except ValueError:
            ours = []
        total += len(theirs)
        wrong += edits(list(ours), theirs)
        if ours != theirs:
            differing.append(case)
            if show:
                print(f"{convention} {case} {text}\n  recorded {theirs}\n  ours     {ours}")
    equal = len(cases) - len(differing)
    return Row(
        name, convention, len(cases), equal, equal / len(cases), 1 - wrong / total, differing
    )


def rows_of(name: str, lines: list[dict], dictionary: Path | None, show: bool) -> list[Row]:
    """All comparisons of one recorded file."""
    rows: list[Row] = []
    for version in ("v2", "v1"):
        pipeline = PublishedPipeline(version=version, japanese_dictionary=dictionary)
        cases = [(d["id"], d["text"], d[version]["phones"]) for d in lines if version in d]
        if cases:

            def whole(text: str, speak: PublishedPipeline = pipeline) -> list[str]:
                return speak.clean(text, name).symbols  # type: ignore[arg-type]

            rows.append(compare(name, f"published {version}", whole, cases, show))
        front = f"front_{version}"
        for mode in lines[0].get(front, {}):
            cases = [(d["id"], d["text"], d[front][mode]["ids"]) for d in lines]

            def routed(
                text: str, speak: PublishedPipeline = pipeline, how: str = mode
            ) -> list[int]:
                return speak(text, how).ids

            rows.append(compare(name, f"{version}, mode {mode}", routed, cases, show))
    if name in ("zh", "en"):
        own = TextPipeline()
        cases = [(d["id"], d["text"], d["v2"]["phones"]) for d in lines]
        rows.append(compare(name, "voxray", lambda text: own(text, name).symbols, cases, False))
    return rows


def table(rows: list[Row], skipped: list[str]) -> str:
    """Markdown."""
    lines = [
        "# Text front end against the recorded published one",
        "",
        "Made by `python benchmarks/text_parity.py --table`. Equal: every phone of the sentence.",
        "Phones: 1 - edit distance / recorded phones. The goals are set for `published v2`; the rows",
        "with a mode add language segments, which the published code asks a language model for.",
        "",
        "| language | reading | sentences | equal | agreement | phones | goal | differing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        goal = f"{GOAL[r.language]:.0%}" if r.convention == "published v2" else "-"
        few = len(r.differing) <= 12
        shown = " ".join(r.differing) if few else f"{len(r.differing)} sentences"
        lines.append(
            f"| {r.language} | {r.convention} | {r.sentences} | {r.equal} | {r.agreement:.1%} "
            f"| {r.phones:.1%} | {goal} | {shown} |"
        )
    named = {case for r in rows if r.convention != "voxray" for case in r.differing}
    lines += ["", "Why sentences differ:", ""]
    for reason, cases in REASONS.items():
        found = [case for case in cases.split() if case in named]
        lines += [f"- {reason}: {' '.join(found)}"] if found else []
        named -= set(found)
    lines += [f"- unexplained: {' '.join(sorted(named))}"] if named else []
    lines += [f"- not measured: {reason}" for reason in skipped]
    lines += ["", OWN]
    return "\n".join(lines) + "\n"


def measure(options: argparse.Namespace) -> tuple[list[Row], list[str]] | None:
    """Rows, and the languages left out with the reason; None without recordings."""
    rows: list[Row] = []
    skipped: list[str] = []
    for name in options.languages.split(","):
        path = options.parity / f"{name}.jsonl"
        if not path.is_file():
            print(f"{path} is not there; name the folder with --parity", file=sys.stderr)
            return None
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = lines[:20] if options.quick else lines
        try:
            rows.extend(rows_of(name, lines, options.japanese_dictionary, options.show))
        except (ImportError, FileNotFoundError) as error:
            skipped.append(f"{name} ({error})")
    return rows, skipped


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parity", type=Path, default=DEFAULT, help="folder of the recordings")
    parser.add_argument("--quick", action="store_true", help="the first 20 sentences a language")
    parser.add_argument("--languages", default="zh,en,ja,ko,yue,mix", help="with commas between")
    parser.add_argument("--japanese-dictionary", type=Path, help="Open JTalk, folder of sys.dic")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--table", type=Path, help="write the Markdown table here")
    parser.add_argument("--show", action="store_true", help="print the sentences that differ")
    options = parser.parse_args()
    measured = measure(options)
    if measured is None:
        return 2
    rows, skipped = measured
    print(table(rows, skipped))
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1), encoding="utf-8")
    if options.table:
        options.table.write_text(table(rows, skipped), encoding="utf-8")
    goals = [r for r in rows if r.convention == "published v2" and r.agreement < GOAL[r.language]]
    for r in goals:
        print(f"goal missed: {r.language} {r.agreement:.1%} < {GOAL[r.language]:.0%}")
    return 1 if goals else 0


if __name__ == "__main__":
    sys.exit(main())
