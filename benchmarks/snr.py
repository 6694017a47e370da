"""How much noise may a reference hold? Quality and similarity against its SNR, clean down to 0 dB.

    python benchmarks/snr.py --quick                    # 2 references, white noise, 2 levels: does it run
    python benchmarks/snr.py --json out.json --keep rows.jsonl   # 20 references, 4 disturbances; resumes
    python benchmarks/snr.py --before                   # at 10 dB once more without the denoiser
    python benchmarks/snr.py --model DIR --against DIR  # before and after training against noise

The cleanest readers (LibriSpeech test-other, LibriSpeech dev, LJSpeech; nobody the model learnt from) give one
reference each. It is disturbed (white noise, babble of other speakers, breath between the words, reverberation
down to the direct-to-reverberant ratio), becomes a voice as `Voice` makes it (below 30 dB heard through the denoiser), and says a sentence, another one for each speaker, with
one seed. Similarity is to other, clean speech of the speaker, normalised by impostors. `lost 10 %` is the SNR at
which a measure has fallen to nine tenths of its clean value, by straight lines, with an interval over speakers;
the losses in "What a noisy reference costs" are what `Voice` warns with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import comparing
import numpy as np
import torch
import typer
from quality import TEXTS

from voxray import audio
from voxray.bundle import Bundle
from voxray.cleaning import cleaned
from voxray.evaluate import metrics, sets
from voxray.evaluate.named import NamedJudges
from voxray.packaged import BUILTIN
from voxray.voice import CLEANED_DB, Voice

LEVELS = (10.0, 0.0, 20.0, 5.0, 30.0)  # in the order in which a run that is cut off leaves them
CLEAN = 60.0  # nothing added
OWN_DB = 40.0  # what noise the clean references have themselves, about: where their points stand on a curve
LEAST_LEVELS = 3  # points that make a curve
LEAST_BEFORE = 5  # rows of references as they were recorded that make a table
BEFORE_LEVELS = (10.0,)  # where they are measured, too
REFERENCES, SEED = 20, 1
CORPORA = ("librispeech-test-other", "librispeech-train-clean-100", "ljspeech")
MEASURES = ("similarity", "natural", "right")
BEFORE = ", as recorded"  # behind a model's name: heard without the denoiser
WARNED = {
    10.0: 5.0,
    20.0: 10.0,
}  # SNR below which `Voice` says what was lost at which; 0 dB is refused
Wave = np.ndarray


def white(wave: Wave, dice: np.random.Generator, others: Sequence[Wave]) -> Wave:
    """White noise."""
    return dice.standard_normal(len(wave)).astype(np.float32)


def babble(wave: Wave, dice: np.random.Generator, others: Sequence[Wave]) -> Wave:
    """Five other people at once."""
    chosen = dice.choice(len(others), min(5, len(others)), replace=False)
    return np.sum(
        [np.resize(others[k] / (np.std(others[k]) + 1e-9), len(wave)) for k in chosen], axis=0
    )


def breath(wave: Wave, dice: np.random.Generator, others: Sequence[Wave]) -> Wave:
    """Low-passed noise that swells where the speech is quiet."""
    noise = np.convolve(dice.standard_normal(len(wave)), np.hanning(16) / 8, "same")
    level = np.convolve(np.abs(wave), np.ones(1600) / 1600, "same")
    return (noise * (level < np.median(level))).astype(np.float32)


def echo(wave: Wave, dice: np.random.Generator, others: Sequence[Wave]) -> Wave:
    """The tail of a room of 0.6 s."""
    time = np.arange(round(0.6 * sets.RATE)) / sets.RATE
    room = dice.standard_normal(len(time)) * np.exp(-6.9 * time / 0.6) * (time > 0.005)
    size = len(wave) + len(room)
    made = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(room, size), size)
    return made[: len(wave)].astype(np.float32)


KINDS: dict[str, Callable[..., Wave]] = {
    "white": white, "babble": babble, "breath": breath, "reverberation": echo,
}  # fmt: skip


def disturbed(
    wave: Wave, kind: str, level: float, dice: np.random.Generator, others: Sequence[Wave]
) -> Wave:
    """The wave with a disturbance `level` dB below it."""
    if level >= CLEAN:
        return wave
    added = KINDS[kind](wave, dice, others)
    gain = np.sqrt(np.mean(np.square(wave)) / (np.mean(np.square(added)) + 1e-12))
    mixed = wave + added * gain * 10 ** (-level / 20)
    return (mixed * min(1.0, 0.99 / (np.abs(mixed).max() + 1e-9))).astype(np.float32)


@dataclass(frozen=True)
class Row:
    """One voice: from one reference, disturbed (and heard as it was recorded, where `model` says so)."""

    model: str
    kind: str
    level: float
    speaker: str
    similarity: float
    natural: float
    right: float  # percent of words


def speakers(shared: Path, most: int) -> list[comparing.Person]:
    """Readers that the model never heard, the cleanest references first; their own noise stays in them."""
    noise = sets.noise_levels(shared / "speech")
    clips = [c for c in sets.read_clips(shared / "speech") if c.corpus in CORPORA]
    made: list[tuple[float, comparing.Person]] = []
    for split in ("test", "dev", "fewshot-test"):
        for r in sets.references(clips, "en", split):
            person = comparing.Person(r.name, r.sex, [r.clip], list(r.own[:3]))
            made.append((noise.get(r.clip.path, 0.0), person))
    if len(made) < 2:
        raise FileNotFoundError(f"too few speakers in {shared / 'speech'}")
    made.sort(key=lambda pair: (-pair[0], pair[1].name))
    return [person for _, person in made[:most]]


@dataclass(frozen=True)
class Plan:
    """What is measured of every reference."""

    levels: Sequence[float]
    kinds: Sequence[str]
    texts: Sequence[str]
    share: str = "0/1"  # of the references

    def passes(self) -> list[list[tuple[str, float]]]:
        """The clean reference, then level after level: every disturbance."""
        return [[("clean", CLEAN)], *([(k, level) for k in self.kinds] for level in self.levels)]


@dataclass(frozen=True)
class Subject:
    """A model under a name, and whether noisy references are cleaned for it."""

    name: str
    bundle: Bundle
    clean: bool = True


def measure(
    subject: Subject, persons: Sequence[comparing.Person], heard: dict[str, comparing.Ear],
    plan: Plan, judges: NamedJudges, kept: comparing.Kept[Row],
) -> None:  # fmt: skip
    """Every reference, disturbance and level; level by level, so that a cut leaves whole points of the curves."""
    for cases in plan.passes():
        for number, person in comparing.mine(plan.share, list(enumerate(persons))):
            waves = [p.train[0].wave() for p in persons]
            text = plan.texts[number % len(plan.texts)]
            for kind, level in cases:
                where = {"model": subject.name, "kind": kind, "level": level}
                if not kept.has(**where, speaker=person.name):
                    noisy = noised(waves, number, kind, level)
                    kept(one(subject, person.name, noisy, where, text, heard[person.name], judges))
        print(f"{subject.name}, {cases}", flush=True)


def noised(waves: Sequence[Wave], number: int, kind: str, level: float) -> Wave:
    """Reference `number` of all, disturbed."""
    if kind == "clean":
        return waves[number]
    others = [wave for n, wave in enumerate(waves) if n != number]
    dice = np.random.default_rng((number, round(level)))
    return disturbed(waves[number], kind, level, dice, others)


def one(
    subject: Subject, speaker: str, wave: Wave, where: dict[str, Any], text: str,
    ear: comparing.Ear, judges: NamedJudges,
) -> Row:  # fmt: skip
    """Clone one reference, say a sentence, judge it."""
    noisy = audio.snr_db(wave, sets.RATE) < CLEANED_DB
    wave = cleaned(wave, sets.RATE) if subject.clean and noisy else wave
    voice = Voice.heard("noisy", wave, sets.RATE, subject.bundle)
    spoken = comparing.speak([(text, "en")], voice, subject.bundle, judges, ear, SEED)
    near = float(np.nanmean(list(ear.normalised(spoken.mean_similarity).values())))
    right = max(0.0, 100.0 - spoken.error)
    return Row(
        speaker=speaker, similarity=near, natural=spoken.natural[0], right=right, **where
    )  # fmt: skip


def values(
    rows: Sequence[Row], model: str, kind: str, level: float, measure: str
) -> dict[str, float]:
    """A measure by speaker."""
    where = ("clean", CLEAN) if level >= CLEAN else (kind, level)
    return {
        r.speaker: getattr(r, measure)
        for r in rows
        if (r.model, r.kind, r.level) == (model, *where)
    }


def settings(rows: Sequence[Row]) -> list[tuple[str, str, list[float]]]:
    """(model, kind, levels, the clean one first) of all curves."""
    curved = [r for r in rows if r.kind != "clean" and not r.model.endswith(BEFORE)]
    pairs = dict.fromkeys((r.model, r.kind) for r in curved)
    return [
        (model, kind, [CLEAN, *sorted({r.level for r in rows if (r.model, r.kind) == (model, kind)})[::-1]])
        for model, kind in pairs
    ]  # fmt: skip


def before_table(rows: Sequence[Row]) -> str:
    """What hearing references through the denoiser changes, paired by speaker."""
    lines = [
        "| disturbance | dB | measure | as recorded | cleaned | difference [95 %] | n |",
        "|" + "---|" * 7,
    ]
    cases = dict.fromkeys((r.model, r.kind, r.level) for r in rows if r.model.endswith(BEFORE))
    for model, kind, level in cases:
        for name in MEASURES:
            before = values(rows, model, kind, level, name)
            after = values(rows, model.removesuffix(BEFORE), kind, level, name)
            both = sorted(set(before) & set(after))
            if both:
                pair = [before[s] for s in both], [after[s] for s in both]
                gap, low, high = comparing.paired(*pair)
                lines.append(
                    f"| {kind} | {level:.0f} | {name} | {np.mean(pair[0]):.2f} | {np.mean(pair[1]):.2f} "
                    f"| {gap:+.2f} [{low:+.2f}, {high:+.2f}] | {len(both)} |"
                )
    return "\n".join(lines)


def curves(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means with 95 % intervals over speakers, and what was lost since the clean reference, paired."""
    made = []
    for model, kind, levels in settings(rows):
        for level in levels:
            for name in MEASURES:
                here = values(rows, model, kind, level, name)
                clean = values(rows, model, kind, CLEAN, name)
                both = sorted(set(here) & set(clean))
                figure = metrics.figure(list(here.values()))
                gap = comparing.paired([clean[s] for s in both], [here[s] for s in both])
                made.append(
                    {
                        "model": model, "kind": kind, "level": level, "measure": name,
                        "value": figure.value, "low": figure.low, "high": figure.high,
                        "count": figure.count, "change": gap,
                    }
                )  # fmt: skip
    return made


def falls_to(levels: Sequence[float], curve: Sequence[float], share: float = 0.9) -> float | None:
    """The SNR at which a curve has first fallen to a share of its clean value; nan: it never does; None:
    there is nothing to lose, the clean reference is no better than a stranger.
    """
    limit = share * curve[0]
    if limit <= 0:
        return None
    for n in range(1, len(levels)):
        if curve[n] < limit <= curve[n - 1]:
            part = (curve[n - 1] - limit) / max(1e-9, curve[n - 1] - curve[n])
            return levels[n - 1] + part * (levels[n] - levels[n - 1])
    return float("nan")


def lost_a_tenth(rows: Sequence[Row], draws: int = 500) -> list[dict[str, Any]]:
    """The SNR at which each measure has lost a tenth, with an interval over speakers (inf: never)."""
    made = []
    for model, kind, levels in settings(rows):
        for name in MEASURES:
            curve = [values(rows, model, kind, level, name) for level in levels]
            whole = sorted(set.intersection(*(set(points) for points in curve)))
            if not whole or len(levels) < LEAST_LEVELS:
                continue
            places = [min(level, OWN_DB) for level in levels]
            table = np.array([[points[s] for s in whole] for points in curve])  # [L, N]
            dice = np.random.default_rng(0).integers(0, len(whole), (draws, len(whole)))
            drawn = [falls_to(places, table[:, pick].mean(1).tolist()) for pick in dice]
            ends = np.array([-99.0 if p is None or np.isnan(p) else p for p in drawn])
            low, high = np.quantile(ends, [0.025, 0.975], method="nearest")
            made.append(
                {
                    "model": model, "kind": kind, "measure": name, "low": low, "high": high,
                    "level": falls_to(places, table.mean(1).tolist()), "count": len(whole),
                }
            )  # fmt: skip
    return made


def costs(rows: Sequence[Row], model: str) -> list[tuple[float, str]]:
    """What a noisy reference costs, mean of all disturbances: the rows of `voxray.voice.NOISE_COST`, rising."""
    made = []
    measured = {row.level for row in rows if row.model == model}
    for limit, level in sorted(WARNED.items()):
        if level not in measured:
            continue
        lost = {}
        for name in MEASURES:
            clean = values(rows, model, "", CLEAN, name)
            here = [values(rows, model, kind, level, name) for kind in KINDS]
            gaps = [clean[s] - points[s] for points in here for s in points if s in clean]
            lost[name] = max(0.0, float(np.mean(gaps))) if gaps else float("nan")
            if name == "similarity":
                lost[name] *= 100 / float(np.mean(list(clean.values())))
        told = [f"{lost['similarity']:.0f} % of the likeness"]
        told += [f"{lost['natural']:.1f} points of DNSMOS"] if lost["natural"] >= 0.05 else []
        words = round(lost["right"]) if np.isfinite(lost["right"]) else 0
        told += [f"{words} word{'s' if words > 1 else ''} in a hundred"] if words else []
        made.append((limit, f"measured at {level:.0f} dB: {_listed(told)} lost"))
    return made


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def below(rows: Sequence[Row], model: str, limit: float, name: str) -> list[float]:
    """What each speaker loses on the mean of all disturbances and levels below an SNR."""
    clean = values(rows, model, "", CLEAN, name)
    own = [r for r in rows if r.model == model and r.kind != "clean" and r.level < limit]
    return [
        clean[s] - float(np.mean([getattr(r, name) for r in own if r.speaker == s]))
        for s in sorted({r.speaker for r in own} & set(clean))
    ]


def claim(rows: Sequence[Row], model: str) -> dict[str, Any] | None:
    """The figure that decides "MOS drops by 0.8 below 20 dB SNR": mean of all levels below 20 dB; None before
    all of them were measured.
    """
    levels = {level for level in LEVELS if level < 20.0}
    if not levels <= {r.level for r in rows if r.model == model}:
        return None
    told = []
    for kind in KINDS:
        here = list(values(rows, model, kind, min(levels), "natural").values())
        told += [f"{kind} {np.mean(here):.2f}"] if here else []
    note = f"DNSMOS at {min(levels):.0f} dB: {', '.join(told)}"
    return {"figure": comparing.interval(below(rows, model, 20.0, "natural")), "note": note}


def tables(rows: Sequence[Row], found: list[dict[str, Any]], model: str) -> dict[str, str]:
    """Where a tenth is lost, what `Voice` warns with, then all points."""
    first = [
        "| model | disturbance | measure | dB at which a tenth is lost [95 %] | n |",
        "|" + "---|" * 5,
    ]
    lost = lost_a_tenth(rows)
    if not lost:
        first = ["Too few levels were measured to say."]
    for row in lost:
        level = (
            "no likeness to lose" if row["level"] is None
            else f"{_decibel(row['level'])} [{_decibel(row['low'])}, {_decibel(row['high'])}]"
        )  # fmt: skip
        first.append(
            f"| {row['model']} | {row['kind']} | {row['measure']} | {level} | {row['count']} |"
        )
    second = ["| model | disturbance | dB | measure | figure [95 %] | less the clean reference's, paired | n |",
              "|" + "---|" * 7]  # fmt: skip
    for f in found:
        level = "clean" if f["level"] >= CLEAN else f"{f['level']:.0f}"
        gap, low, high = f["change"]
        second.append(
            f"| {f['model']} | {f['kind']} | {level} | {f['measure']} | {f['value']:.2f} [{f['low']:.2f}, "
            f"{f['high']:.2f}] | {gap:+.2f} [{low:+.2f}, {high:+.2f}] | {f['count']} |"
        )
    third = ["| below dB | what `Voice` says |", "|---|---|"]
    third += [f"| {limit:.0f} | {cost} |" for limit, cost in costs(rows, model)]
    made = {"A tenth lost": "\n".join(first), "What a noisy reference costs": "\n".join(third)}
    if sum(r.model.endswith(BEFORE) for r in rows) >= LEAST_BEFORE:
        made["Before and after the denoiser"] = before_table(rows)
    return made | {"All figures": "\n".join(second)}


def _decibel(level: float) -> str:
    return "never" if np.isnan(level) or level < -50 else f"{level:.0f}"


def picture(found: list[dict[str, Any]]) -> Any:
    """One panel a measure."""

    def plot(figure: Any) -> None:
        for n, name in enumerate(MEASURES, start=1):
            axes = figure.add_subplot(1, 3, n, title=name, xlabel="SNR of the reference, dB")
            for model, kind in dict.fromkeys((f["model"], f["kind"]) for f in found):
                own = [
                    f for f in found if (f["model"], f["kind"], f["measure"]) == (model, kind, name)
                ]
                x = [min(f["level"], OWN_DB) for f in own]
                (line,) = axes.plot(
                    x, [f["value"] for f in own], marker="o", label=f"{model}, {kind}"
                )
                low, high = [f["low"] for f in own], [f["high"] for f in own]
                axes.fill_between(x, low, high, alpha=0.1, color=line.get_color())
            axes.legend(fontsize=6)

    return plot


def main(
    quick: Annotated[bool, typer.Option("--quick", help="2 references, 2 levels, white.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Rows, as they come; resumes.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another, to compare with.")] = None,
    before: Annotated[bool, typer.Option("--before", help="Without the denoiser, too.")] = False,
    share: Annotated[str, typer.Option(help="Of the references: 1/4.")] = "0/1",
    as_kept: Annotated[bool, typer.Option("--table", help="Of the rows kept so far.")] = False,
    references: Annotated[int, typer.Option(help="How many.")] = REFERENCES,
    shared: Annotated[Path, typer.Option(help="Folder with speech/.")] = comparing.SHARED,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Draw the curves."""
    torch.set_num_threads(threads)
    judges = NamedJudges(threads=threads)
    persons = speakers(shared, 2 if quick else references)
    texts = [line.text for line in sets.read_texts(TEXTS / "en.tsv") if line.kind == "sentence"]
    kinds = ("white",) if quick else tuple(KINDS)
    plan = Plan((10.0, 0.0) if quick else LEVELS, kinds, texts[:10], share)
    folders = [model or BUILTIN / "mini", *([against] if against else [])]
    kept = comparing.Kept(keep, Row, f"weights {comparing.weights_of(folders)}, seed {SEED}")
    heard = comparing.ears(persons, judges, keep and keep.with_suffix(".ears.json"))
    for folder in [] if as_kept else folders:
        bundle = Bundle.load(folder)
        subject = Subject(folder.name, bundle)
        measure(subject, persons, heard, replace(plan, levels=plan.levels[:3]), judges, kept)
        if before:
            fewer = replace(plan, levels=BEFORE_LEVELS)
            other = Subject(f"{folder.name}{BEFORE}", bundle, clean=False)
            measure(other, persons, heard, fewer, judges, kept)
        measure(subject, persons, heard, plan, judges, kept)
    name, found = folders[0].name, curves(kept.rows)
    record = {
        "rows": [asdict(row) for row in kept.rows], "curves": found,
        "weights": comparing.weights_of(folders), "quick": quick,
        "claims": {"MOS drops by 0.8 below 20 dB SNR": claim(kept.rows, name)},
        "facts": {"references": str(len(persons)), "weights": comparing.weights_of(folders)},
    }  # fmt: skip
    comparing.finish(
        "Noise in the reference",
        "snr",
        tables(kept.rows, found, name),
        record,
        out,
        quick,
        picture(found),
    )


if __name__ == "__main__":
    sys.exit(comparing.run(main, "snr"))
