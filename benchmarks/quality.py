"""How well does it speak? Goal beside figure; fails where a goal is missed.

    python benchmarks/quality.py --quick                       # about ten minutes on two cores
    python benchmarks/quality.py --json out.json               # everything, three seeds
    python benchmarks/quality.py --texts mine.tsv --references my_speakers/ --json out.json
    python benchmarks/quality.py --keep runs/quality           # goes on where it was stopped
    python benchmarks/quality.py --baseline                    # judge the teacher and real people

A whole run takes hours: with `--keep`, each clip's score is on disk as it is made, and `--share 0/2` and
`--share 1/2` beside each other fill two cores (`--threads 1`); a run without `--share` then writes the table.

Needs the extra `eval` and the judges' weights (`python -m voxray.evaluate.fetch`). Exit code 1: a
goal was missed; 2: it could not be run.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from quality_parts import Part, kept_scores, part_of

from voxray.evaluate import baseline, harness, report, sets
from voxray.evaluate.fetch import DEFAULT_FOLDER
from voxray.evaluate.harness import Casting, Score
from voxray.evaluate.judges import Judges
from voxray.evaluate.sets import Clip, Line, Reference

HERE = Path(__file__).resolve().parent
TEXTS, RESULTS = HERE / "texts", HERE / "results"
BASELINE = RESULTS / "baseline.jsonl"
SHARED = HERE.parent.parent / "shared"
ROWS = ("built-in", "zero-shot", "cross-language", "ladder", "own")
QUICK = {"sentence": 8, "short": 2, "long": 1, "paragraph": 1}
QUICK_SPEAKERS, SPEAKERS, LADDER_CLIPS, REAL_CLIPS, OWN_CLIPS = 5, 20, 20, 20, 12
LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Plan:
    """What to run."""

    lines: list[Line]
    clips: list[Clip]  # of people
    teacher: list[Clip]
    rows: tuple[str, ...]
    seeds: int
    speakers: int
    ladder_clips: int
    model: str | None
    options: dict[str, Any]


def texts(path: Path | None, shared: Path, kept: Sequence[Score], quick: bool) -> list[Line]:
    """The given texts, or those that the teacher has said, then our own; a few of each if quick."""
    if path is not None:
        lines = sets.read_texts(path)
        per_kind = dict.fromkeys(sets.KINDS, QUICK["sentence"])
    else:
        lines, per_kind = _unseen(shared, kept, quick), QUICK
    if not quick:
        return lines
    return [
        line
        for language in LANGUAGES
        for line in sets.pick([item for item in lines if item.language == language], per_kind)
    ]


def _unseen(shared: Path, kept: Sequence[Score], quick: bool) -> list[Line]:
    said = {(score.id, score.language) for score in kept if score.row == report.TEACHER}
    lines: list[Line] = []
    for language in LANGUAGES:
        theirs = shared / "teacher" / f"texts_{language}_test.tsv"
        known = sets.read_texts(theirs) if theirs.is_file() else []
        known = [line for line in known if (line.id, line.language) in said]
        own = sets.read_texts(TEXTS / f"{language}.tsv")
        # A quick run has few sentences: let it be those on which the teacher's figures are known.
        lines += known + [line for line in own if not (quick and known and line.kind == "sentence")]
    return lines


def people(folder: Path | None, shared: Path) -> list[Clip]:
    """Recordings of speakers that the model has not heard."""
    folder = folder or shared / "speech"
    if not (folder / "manifest.tsv").is_file():
        return []
    return sets.read_clips(folder)


def teacher_clips(folders: Sequence[Path], shared: Path) -> list[Clip]:
    """What the teacher has said."""
    known = [folder for folder in (*folders, shared / "teacher" / "speech") if folder.is_dir()]
    return [clip for folder in known for clip in sets.read_teacher(folder)]


def measure_baseline(plan: Plan, judges: Judges) -> int:
    """Judge the teacher's and people's recordings that have not been judged yet."""
    kept = baseline.read(BASELINE)
    takes = (
        take
        for source in (
            baseline.teacher_takes(_interleaved(plan.teacher)),
            baseline.real_takes(plan.clips, REAL_CLIPS),
        )
        for take in source
    )
    return baseline.append(BASELINE, harness.score(baseline.unjudged(takes, kept), judges))


def _interleaved(clips: Sequence[Clip]) -> list[Clip]:
    order = dict.fromkeys(LANGUAGES, 0)
    ranked: list[tuple[int, Clip]] = []
    for clip in clips:
        ranked.append((order[clip.language], clip))
        order[clip.language] += 1
    return [clip for _, clip in sorted(ranked, key=lambda item: item[0])]


def run(
    plan: Plan, judges: Judges, cache: Path, part: Part, keep: Path | None = None
) -> tuple[list[Score], list[str]]:
    """The scores of what is left of all rows, and what is to be said about them."""
    from voxray.evaluate import rows

    strangers = {language: _strangers(plan.clips, language) for language in LANGUAGES}
    pool = _pool(plan, strangers)
    casting = Casting(judges, pool, cache)
    scores: list[Score] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cloned = rows.Cloned(folder, plan.model)
        wanted = any(row != "built-in" for row in plan.rows)
        usable = {
            language: cloned.usable(strangers[language], plan.speakers) if wanted else []
            for language in LANGUAGES
        }
        for name, takes in _takes(plan, rows, cloned, usable, pool, folder, part):
            began = time.perf_counter()
            made: list[Score] = []
            for score in harness.score(takes, judges, casting):
                made.append(score)
                if keep is not None:
                    baseline.append(keep, [score])
            print(f"{name}: {len(made)} clips in {time.perf_counter() - began:.0f} s", flush=True)
            scores += made
        casting.save()
    return scores, cloned.notes


def run_part(
    plan: Plan, judges: Judges, folder: Path, keep: Path | None, share: str
) -> tuple[list[Score], list[Score], list[str]]:
    """Scores kept before, this run's, and what is to be said about them."""
    before = kept_scores(keep)
    part = part_of(share, before)
    mine = keep / f"scores.{part.number}.jsonl" if keep else None
    made, notes = run(plan, judges, folder / "embeddings.npz", part, mine)
    return before, made, notes


def _strangers(clips: Sequence[Clip], language: str) -> list[Reference]:
    split = "test" if any(clip.split == "test" for clip in clips) else ""
    return sets.references(clips, language, split)


def _pool(plan: Plan, strangers: dict[str, list[Reference]]) -> list[Reference]:
    """Everybody the judges compare with: the strangers first, then others up to a line-up."""
    pool: list[Reference] = []
    for language in LANGUAGES:
        others = sets.references(plan.clips, language)
        names = {reference.name for reference in strangers[language]}
        pool += strangers[language][: plan.speakers]
        rest = [reference for reference in others if reference.name not in names]
        pool += rest[: max(0, 24 - min(plan.speakers, len(strangers[language])))]
        plain = [clip for clip in plan.teacher if "+" not in clip.speaker]  # no blends
        pool += sets.references(plain, language)
    return pool


def _takes(
    plan: Plan,
    rows: Any,
    cloned: Any,
    usable: dict[str, list[Reference]],
    pool: list[Reference],
    folder: Path,
    part: Part,
) -> Iterator[tuple[str, Iterator[harness.Take]]]:
    options = dict(plan.options, model=plan.model)
    speak = harness.engine_speak
    known = rows.builtin_references(HERE / "builtin_voices.tsv", pool)
    if "own" in plan.rows:
        most = OWN_CLIPS // 4 if plan.seeds == 1 and plan.speakers < SPEAKERS else OWN_CLIPS
        yield report.OWN, part.left_of(rows.own_speech(known, plan.teacher, most))
    if "built-in" in plan.rows:
        tasks = rows.builtin(plan.lines, plan.seeds, known, options)
        yield "built-in voices", (speak(task) for task in part.left(tasks))
    for name, cross in (("zero-shot", False), ("cross-language", True)):
        if name in plan.rows:
            tasks = rows.zero_shot(plan.lines, plan.seeds, usable, cloned, options, cross=cross)
            yield name, (speak(task) for task in part.left(tasks))
    if "ladder" in plan.rows:
        pairs = []
        for language in LANGUAGES:  # Mandarin people here have no human transcripts: the teacher's
            theirs = sets.references(plan.teacher, language, "test")
            speakers = [*usable[language], *cloned.usable(theirs, 2)]
            own = [c for c in (*plan.clips, *plan.teacher) if c.language == language]
            pairs += rows.rung_clips(speakers, own, plan.ladder_clips)
        yield "ladder", rows.ladder(list(part.clips(pairs)), cloned, folder, options, speak)


def write(
    scores: list[Score],
    notes: list[str],
    facts: dict[str, str],
    out: Path | None,
    markdown: Path | None,
) -> tuple[int, int]:
    """Print and write the tables; returns how many goals were missed, and how many not measured."""
    made = report.verdicts(scores)
    goals, figures = report.goals_table(made), report.figures_table(report.tabulate(scores))
    print(goals, "\n")
    print(figures)
    lengths = report.likeness_by_length(scores)
    parts = {"Goals": goals, "All figures": figures, "Likeness by length": lengths}
    parts["How to read it"] = _legend()
    if notes:
        parts["Notes"] = "\n".join(f"- {note}" for note in notes)
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(report.page("Quality", facts, parts), encoding="utf-8")
    if out is not None:
        record = {
            "facts": facts,
            "notes": notes,
            "goals": [asdict(verdict) | {"met": verdict.met} for verdict in made],
            "scores": [harness.to_json(score) for score in scores],
        }
        out.write_text(json.dumps(_plain(record), ensure_ascii=False, indent=1), encoding="utf-8")
    met = [verdict.met for verdict in made]
    return met.count(False), met.count(None)


def _plain(value: Any) -> Any:
    """The same without nan, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _legend() -> str:
    return """\
- `error`: word error rate in percent (Mandarin: character error rate, Simplified), by the
  recogniser; `pinyin`: the same on syllables without tones.
- `similarity J`: (s - impostor) / (same - impostor) by judge J, impostors of the same sex and
  language; `cosine J`: s itself. `identified J`: right among 20 speakers, percent.
- `lost or repeated`, `added`, `leaked`: percent of clips with such a run (2 words, 3 characters).
- `own speech`: clips of the very speakers the built-in voices were made from, judged as those are.
- Brackets: 95 % bootstrap interval over texts.
- `real: X` are people's recordings of other texts; goals that lean on the teacher compare the texts
  that both have said."""


def facts_of_run() -> dict[str, str]:
    """Machine, command, date."""
    import torch

    import voxray

    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": "python " + shlex.join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()}",
        "versions": f"voxray {voxray.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
        "judges": "Whisper base (int8, greedy), WeSpeaker ResNet34, ERes2Net, DNSMOS P.835",
    }


def _processor() -> str:
    """Its name and what it multiplies with: two of one name can be three times apart."""
    import torch

    from voxray.models.packed_conv import multiplies_bf16

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    skills = [torch.backends.cpu.get_cpu_capability(), *(["bf16"] if multiplies_bf16() else [])]
    return f"{name} ({', '.join(skills)})"


def _checked(rows: str) -> tuple[str, ...]:
    chosen = tuple(rows.split(","))
    unknown = set(chosen) - set(ROWS)
    if unknown:
        raise ValueError(
            f"no rows named {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}"
        )
    return chosen


def main(
    texts_file: Annotated[
        Path | None, typer.Option("--texts", help="TSV: id, text, language, kind.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="Folder with manifest.tsv of speakers.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Everything, clip by clip.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Where the table goes.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="12 texts a language, one seed.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds a text (3; quick: 1).")] = None,
    rows: Annotated[str, typer.Option(help="Which rows to run.")] = ",".join(ROWS),
    model: Annotated[str | None, typer.Option(help="A model's folder.")] = None,
    no_watch: Annotated[
        bool, typer.Option("--no-watch", help="Nothing watches the alignment.")
    ] = False,
    only_baseline: Annotated[
        bool, typer.Option("--baseline", help="Judge teacher and people only.")
    ] = False,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="More of the teacher's speech.")
    ] = None,
    shared: Annotated[Path, typer.Option(help="Folder with speech/ and teacher/.")] = SHARED,
    judges_folder: Annotated[
        Path, typer.Option("--judges", envvar="VOXRAY_JUDGES", help="The judges' weights.")
    ] = DEFAULT_FOLDER,
    recogniser: Annotated[str | None, typer.Option(help="Another Whisper, by name.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    keep: Annotated[Path | None, typer.Option(help="Folder of scores to go on from.")] = None,
    share: Annotated[str, typer.Option(help="Do every N-th task only: 0/2, 1/2.")] = "0/1",
) -> None:
    """Measure the table of goals."""
    chosen = _checked(rows)
    import torch

    torch.set_num_threads(threads)
    judges = Judges(judges_folder, threads=threads, recogniser=recogniser)
    kept = baseline.read(BASELINE)
    plan = Plan(
        lines=texts(texts_file, shared, kept, quick),
        clips=people(references, shared),
        teacher=teacher_clips(teacher or [], shared),
        rows=chosen,
        seeds=seeds or (1 if quick else 3),
        speakers=QUICK_SPEAKERS if quick else SPEAKERS,
        ladder_clips=LADDER_CLIPS // 5 if quick else LADDER_CLIPS,
        model=model,
        options={"watch": None} if no_watch else {},
    )
    if only_baseline:
        print(f"{measure_baseline(plan, judges)} clips judged, kept in {BASELINE.name}")
        scores, notes = baseline.read(BASELINE), []
    else:
        before, made, notes = run_part(plan, judges, judges_folder, keep, share)
        if not share.endswith("/1"):
            print(f"{len(made)} clips judged; without --share the table is written")
            return
        scores = [*before, *made, *kept]
    default = None if texts_file else RESULTS / ("baseline.md" if only_baseline else "quality.md")
    missed, unknown = write(scores, notes, facts_of_run(), out, markdown or default)
    # A goal that a whole run leaves open is not reached.
    whole = not only_baseline and set(chosen) == set(ROWS)
    if missed or (whole and unknown):
        print(f"{missed} goals missed, {unknown} not measured")
        raise typer.Exit(1)


def command() -> int:
    """Run, and say what is wrong in one line."""
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"quality: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command())
