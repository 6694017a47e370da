"""Does a minute make a voice? Tuned against zero-shot, 10 to 60 s of speech, goal beside figure.

    python benchmarks/fewshot.py --quick          # one speaker, 20 s, a few steps: does it run
    python benchmarks/fewshot.py --json out.json  # eight speakers, four lengths: a night
    python benchmarks/fewshot.py --speakers 2 --seconds 60 --keep DIR  # rows and runs stay there; goes on
    python benchmarks/fewshot.py --dev --speakers 2  # other speakers, to try settings on

Tuned on the training part alone, which `voxray tune` splits further to know when to stop; then both models say
the same sentences of benchmarks/texts in the voice of the same recordings, and the judges compare with the
speaker's held-out clips. Similarity is (s - impostor) / (same - impostor).

Goals at 60 s: similarity >= 0.7 by both judges and above zero-shot on every speaker; word errors at most one
point above zero-shot; 20 minutes a run. Exit 1: a goal was missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import comparing
import numpy as np
import soundfile
import torch
import typer
from quality import TEXTS

from voxray.bundle import Bundle
from voxray.evaluate import fetch, sets
from voxray.evaluate.fewshot import Outcome, few_shot, voice_wave
from voxray.evaluate.named import NamedJudges
from voxray.packaged import BUILTIN
from voxray.train.store import RATE, Store
from voxray.train.tuning import Tuning
from voxray.voice import Voice

SECONDS = (10, 20, 30, 60)
LIKENESS, ROOM, MINUTES = 0.7, 1.0, 20.0


@dataclass(frozen=True)
class Row:
    """One speaker and length. Similarities are normalised, by judge; word errors are counted."""

    speaker: str
    seconds: float
    learnt: float  # s of speech learnt from: some speakers have less than was asked for
    zero_shot: dict[str, float]
    tuned: dict[str, float]
    errors_before: int
    errors_after: int
    words: int
    natural_before: float
    natural_after: float
    steps: dict[str, float]  # whose weights were kept, by part; 0: nothing was gained
    minutes: float  # of processor time, of tuning alone; nan: the run was cut off and went on

    @property
    def worse(self) -> float:
        """Points of word errors more than zero-shot."""
        return 100.0 * (self.errors_after - self.errors_before) / self.words


@dataclass(frozen=True)
class Bench:
    """What every run is tuned and measured with."""

    texts: list[tuple[str, str]]
    judges: NamedJudges
    config: Tuning
    only: str
    model: Path

    def tuned(self, person: comparing.Person, seconds: float, folder: Path) -> Outcome:
        """Tune on up to `seconds` of a person's training part."""
        clips = folder / "clips"
        clips.mkdir(parents=True, exist_ok=True)
        lines = []
        for n, (wave, text) in enumerate(comparing.up_to(person.train, 1.2 * seconds)):
            if not (clips / f"{n:03d}.wav").is_file():
                soundfile.write(clips / f"{n:03d}.wav", wave, 16_000)
            lines.append(f"{n:03d}.wav\t{text}\n")
        if not (folder / "texts.tsv").is_file():
            (folder / "texts.tsv").write_text("".join(lines), encoding="utf-8")
        return few_shot(
            clips, "tuned", folder / "model", transcripts=folder / "texts.tsv", minutes=seconds / 60,
            model=self.model, settings=self.config, only=self.only, judges=self.judges,
            say=lambda line: print(" ", line, flush=True),
        )  # fmt: skip

    def one(
        self, person: comparing.Person, ear: comparing.Ear, seconds: float, keep: Path
    ) -> Row:  # fmt: skip
        """Tune and compare with the model that was not."""
        folder = keep / f"{person.name.replace('/', '-')}-{seconds:.0f}"
        whole = not (folder / "model").exists()  # not begun by a run that was cut off
        began = time.process_time()
        made = self.tuned(person, seconds, folder)
        minutes = (time.process_time() - began) / 60 if whole else float("nan")
        store = Store(folder / "model" / "work" / "store")
        wave = voice_wave(store, [e for e in store.entries if e.split == "train"])
        said = []
        for home in (self.model, folder / "model"):
            bundle = Bundle.load(home)
            voice = Voice.heard("tuned", wave, RATE, bundle)
            said.append(comparing.speak(self.texts, voice, bundle, self.judges, ear))
        before, after = said
        return Row(
            person.name, seconds, made.seconds, ear.normalised(before.mean_similarity),
            ear.normalised(after.mean_similarity), sum(before.errors), sum(after.errors),
            sum(before.words), float(np.mean(before.natural)), float(np.mean(after.natural)),
            {name: row.get("step", 0.0) for name, row in made.rows.items()}, minutes,
        )  # fmt: skip


def verdicts(rows: list[Row]) -> list[tuple[str, str, str, bool]]:
    """(what, goal, figure, met) at the longest length that was run."""
    longest = max(row.seconds for row in rows)
    last = [row for row in rows if row.seconds == longest]
    made = []
    for name in last[0].tuned:
        mean = float(np.mean([row.tuned[name] for row in last]))
        made.append((f"similarity {name}", f">= {LIKENESS}", f"{mean:.2f}", mean >= LIKENESS))
        above = sum(row.tuned[name] > row.zero_shot[name] for row in last)
        made.append(
            (
                f"above zero-shot, {name}",
                "every speaker",
                f"{above} of {len(last)}",
                above == len(last),
            )
        )
    worse, low, high = comparing.paired([0.0] * len(last), [row.worse for row in last])
    figure = f"{worse:+.1f} [{low:+.1f}, {high:+.1f}]"
    made.append(("word errors", f"<= +{ROOM:.0f} point", figure, worse <= ROOM))
    timed = [row.minutes for row in last if np.isfinite(row.minutes)]
    slow = max(timed, default=float("nan"))
    figure = f"{slow:.1f}" if timed else "no run was whole"
    made.append(("processor minutes a run", f"<= {MINUTES:.0f}", figure, slow <= MINUTES))
    return made


def gains(rows: list[Row]) -> str:
    """What tuning changes, paired by speaker, with 95 % intervals, by length."""
    lines = [
        "| s asked for | measure | zero-shot | tuned | difference [95 %] | speakers |",
        "|" + "---|" * 6,
    ]
    for seconds in sorted({row.seconds for row in rows}):
        own = [row for row in rows if row.seconds == seconds]
        pairs = {
            f"similarity {name}": ([r.zero_shot[name] for r in own], [r.tuned[name] for r in own])
            for name in own[0].tuned
        }
        pairs["word errors %"] = (
            [100 * r.errors_before / r.words for r in own], [100 * r.errors_after / r.words for r in own]
        )  # fmt: skip
        pairs["DNSMOS"] = ([r.natural_before for r in own], [r.natural_after for r in own])
        for name, (before, after) in pairs.items():
            gap, low, high = comparing.paired(before, after)
            lines.append(
                f"| {seconds:.0f} | {name} | {np.mean(before):.2f} | {np.mean(after):.2f} "
                f"| {gap:+.2f} [{low:+.2f}, {high:+.2f}] | {len(own)} |"
            )
    return "\n".join(lines)


def picture(rows: list[Row]) -> Any:
    """Before and after against the seconds asked for: likeness by each judge, words, naturalness. Thin: one speaker."""
    shown: dict[str, Callable[[Row], tuple[float, float]]] = {
        f"likeness, {name}": lambda r, n=name: (r.zero_shot[n], r.tuned[n])
        for name in rows[0].tuned
    }
    shown["words misheard, %"] = lambda r: (
        100 * r.errors_before / r.words, 100 * r.errors_after / r.words
    )  # fmt: skip
    shown["DNSMOS"] = lambda r: (r.natural_before, r.natural_after)
    lengths = sorted({row.seconds for row in rows})

    def plot(figure: Any) -> None:
        for n, (name, pair) in enumerate(shown.items(), start=1):
            axes = figure.add_subplot(2, 2, n, title=name, xlabel="s of speech asked for")
            for place, seconds in enumerate(lengths):
                own = [pair(row) for row in rows if row.seconds == seconds]
                for before, after in own:
                    axes.plot([place - 0.15, place + 0.15], [before, after], color="silver", lw=0.8)
                ends = np.mean(own, axis=0)
                for end, where, colour in zip(ends, (-0.15, 0.15), ("C0", "C1"), strict=True):
                    told = ("zero-shot" if where < 0 else "tuned") if place == 0 else None
                    axes.plot(place + where, end, "o", color=colour, label=told)
            axes.set_xticks(range(len(lengths)), [f"{s:.0f}" for s in lengths])
            if n == 1:
                axes.legend()

    return plot


def table(rows: list[Row]) -> str:
    """One row a speaker and length."""
    names = list(rows[0].tuned)
    head = "| speaker | s learnt from | " + " | ".join(f"{n} zero-shot | {n} tuned" for n in names)
    lines = [head + " | errors before | after | of words | steps kept | minutes |"]
    lines.append("|" + "---|" * (7 + 2 * len(names)))
    for row in rows:
        near = " | ".join(f"{row.zero_shot[n]:.2f} | {row.tuned[n]:.2f}" for n in names)
        steps = ", ".join(f"{name} {step:.0f}" for name, step in row.steps.items())
        lines.append(
            f"| {row.speaker} | {row.learnt:.0f} | {near} | {row.errors_before} "
            f"| {row.errors_after} | {row.words} | {steps} | {_minutes(row)} |"
        )
    return "\n".join(lines)


def _minutes(row: Row) -> str:
    return f"{row.minutes:.1f}" if np.isfinite(row.minutes) else "in parts"


def settings(
    quick: bool, rank: int, steps: int, still: str, rate: float, words: float, more: dict[str, Any]
) -> Tuning:  # fmt: skip
    """Of every run."""
    more = {**more, **({"still": tuple(still.split(","))} if still else {})}
    more |= {"generator_steps": steps, "gpt_steps": steps} if steps else {}
    more |= {"generator_rate": rate} if rate else {}
    more |= {"words": words} if words else {}
    config = Tuning(rank=rank, minutes=8.0, teacher=fetch.teacher(), **more)
    few = {"generator_steps": 8, "gpt_steps": 8, "check_every": 8, "batch": 2, "gpt_batch": 2}
    return config.model_copy(update=few) if quick else config


def main(
    quick: Annotated[bool, typer.Option("--quick", help="One speaker, 20 s, few steps.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    speakers: Annotated[int, typer.Option(help="How many.")] = 8,
    seconds: Annotated[str, typer.Option(help="Lengths, with commas.")] = "60,30,20,10",
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep (and resume) rows and runs here.")] = None,
    rank: Annotated[int, typer.Option(help="Of adapters; 0: all weights.")] = 0,
    only: Annotated[str, typer.Option(help="generator or gpt; default: both.")] = "",
    steps: Annotated[int, typer.Option(help="Of each part; 0: as `voxray tune`.")] = 0,
    still: Annotated[str, typer.Option(help="Parts of the generator not trained: prior,...")] = "",
    rate: Annotated[float, typer.Option(help="The generator's; 0: as `voxray tune`.")] = 0.0,
    words: Annotated[float, typer.Option(help="Weight of its loss; 0: as `voxray tune`.")] = 0.0,
    set_: Annotated[str, typer.Option("--set", help="Other settings of `Tuning`, as JSON.")] = "{}",
    dev: Annotated[bool, typer.Option("--dev", help="Other speakers, to try settings on.")] = False,
    texts: Annotated[int, typer.Option(help="Sentences that are said.")] = 24,
    shared: Annotated[Path, typer.Option(help="Folder with speech/.")] = comparing.SHARED,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Measure the few-shot goals."""
    torch.set_num_threads(threads)
    home = model or BUILTIN / "mini"
    lines = [line for line in sets.read_texts(TEXTS / "en.tsv") if line.kind == "sentence"]
    said = [(line.text, "en") for line in lines[: 2 if quick else texts]]
    judges = NamedJudges(threads=threads)
    config = settings(quick, rank, steps, still, rate, words, json.loads(set_))
    bench = Bench(said, judges, config, only, home)
    everybody = comparing.people(shared, comparing.DEV if dev else comparing.FEW_SHOT)
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        heard = comparing.ears(everybody[: 3 if quick else None], judges, folder / "ears.json")
        settled = {**bench.config.model_dump(), "teacher": Path(bench.config.teacher).name}
        what = f"weights {comparing.weights_of([home])}, {len(said)} texts, {settled}"
        kept = comparing.Kept(folder / "rows.jsonl", Row, what)
        refused = []
        for length in [20.0] if quick else [float(s) for s in seconds.split(",")]:
            for person in everybody[: 1 if quick else speakers]:
                if kept.has(speaker=person.name, seconds=length):
                    continue
                print(f"{person.name}, {length:.0f} s", flush=True)
                try:
                    kept(bench.one(person, heard[person.name], length, folder))
                except ValueError as error:  # too little speech in too few clips
                    refused.append(f"{person.name}, {length:.0f} s: {error}")
        report(kept.rows, refused, home, out, quick, "fewshot-dev" if dev else "fewshot")


def report(
    rows: list[Row], refused: list[str], home: Path, out: Path | None, quick: bool, name: str
) -> None:  # fmt: skip
    """Tables; exit 1 where a goal was missed."""
    rows = sorted(rows, key=lambda row: (-row.seconds, row.speaker))
    found = verdicts(rows)
    goals = "| measure | goal | figure | met |\n|---|---|---|---|\n" + "\n".join(
        f"| {what} | {goal} | {figure} | {'yes' if met else '**no**'} |"
        for what, goal, figure, met in found
    )
    weights = comparing.weights_of([home])
    record = {
        "rows": [asdict(row) for row in rows], "weights": weights, "quick": quick,
        "facts": {"weights": weights},
    }  # fmt: skip
    parts = {"Goals": goals, "What tuning changes": gains(rows), "Speakers": table(rows)}
    if refused:
        parts["Refused"] = "\n".join(f"- {line}" for line in refused)
    comparing.finish(
        "Few-shot", name, parts, record, out, quick or name != "fewshot", picture(rows)
    )
    if name == "fewshot" and not all(met for *_, met in found) and not quick:
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(comparing.run(main, "fewshot"))
