"""How much noise may a reference hold? Quality and similarity against its SNR, clean down to 0 dB.

    python benchmarks/snr.py --quick                    # 2 references, white noise, 3 levels: does it run
    python benchmarks/snr.py --json out.json            # 20 references, 4 disturbances
    python benchmarks/snr.py --model DIR --against DIR  # before and after training against noise

Each reference is disturbed (white noise, babble of other speakers, breath between the words, reverberation
down to the direct-to-reverberant ratio), becomes a voice, and says the same texts with the same seed. Similarity
is to other, clean clips of the speaker, normalised by impostors. `lost 10 %` is the SNR at which a measure has
fallen to nine tenths of its clean value (word errors: one tenth more right words lost), by straight lines; it is
what `Voice` may warn of.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import comparing
import numpy as np
import torch
import typer

from voxray.bundle import BUILTIN, Bundle
from voxray.evaluate import metrics, sets
from voxray.evaluate.named import NamedJudges
from voxray.voice import Voice

LEVELS = (60.0, 30.0, 25.0, 20.0, 15.0, 10.0, 5.0, 0.0)
CLEAN = 60.0  # nothing added
REFERENCES = 20
TEXTS = (
    ("She keeps her old letters in a wooden box.", "en"),
    ("The boats came home before the storm.", "en"),
)
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
    """One voice: from one reference, disturbed."""

    model: str
    kind: str
    level: float
    speaker: str
    similarity: float
    natural: float
    right: float  # percent of words


def speakers(shared: Path, most: int) -> list[comparing.Person]:
    """Speakers with a clip to clone and others to compare with, test speakers first."""
    clips = [
        c for c in sets.read_clips(shared / "speech") if c.language == "en" and c.seconds >= 2.5
    ]
    found = sets.references(clips, "en", "test") + sets.references(clips, "en", "dev")
    made = [
        comparing.Person(r.name, r.sex, [r.clip], list(r.own)) for r in found if len(r.own) >= 2
    ]
    if len(made) < 2:
        raise FileNotFoundError(f"too few speakers in {shared / 'speech'}")
    return made[:most]


def measure(
    name: str, bundle: Bundle, persons: Sequence[comparing.Person], levels: Sequence[float],
    kinds: Sequence[str], judges: NamedJudges,
) -> list[Row]:  # fmt: skip
    """Every reference, disturbance and level."""
    heard = comparing.ears(persons, judges)
    rows = []
    for kind in kinds:
        for number, person in enumerate(persons):
            others = [p.train[0].wave() for p in persons if p is not person]
            wave = person.train[0].wave()
            for level in levels:
                dice = np.random.default_rng((number, round(level)))
                noisy = disturbed(wave, kind, level, dice, others)
                voice = Voice.heard("noisy", noisy, sets.RATE, bundle)
                spoken = comparing.speak(TEXTS, voice, bundle, judges, heard[person.name])
                near = heard[person.name].normalised(spoken.mean_similarity)
                rows.append(
                    Row(
                        name, kind, level, person.name, float(np.nanmean(list(near.values()))),
                        float(np.mean(spoken.natural)), max(0.0, 100.0 - spoken.error),
                    )
                )  # fmt: skip
            print(f"{name}, {kind}: {number + 1} of {len(persons)}", flush=True)
    return rows


def curves(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means with 95 % intervals over speakers."""
    made = []
    for model, kind, level in dict.fromkeys((r.model, r.kind, r.level) for r in rows):
        own = [r for r in rows if (r.model, r.kind, r.level) == (model, kind, level)]
        for name in ("similarity", "natural", "right"):
            figure = metrics.figure([getattr(r, name) for r in own], None, [r.speaker for r in own])
            made.append(
                {
                    "model": model, "kind": kind, "level": level, "measure": name,
                    "value": figure.value, "low": figure.low, "high": figure.high,
                }
            )  # fmt: skip
    return made


def lost_a_tenth(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The SNR at which a curve has first fallen to 0.9 of its clean value; nan: it never does."""
    made = []
    for model, kind, name in dict.fromkeys((f["model"], f["kind"], f["measure"]) for f in found):
        own = sorted(
            (f for f in found if (f["model"], f["kind"], f["measure"]) == (model, kind, name)),
            key=lambda f: -f["level"],
        )
        limit, place = 0.9 * own[0]["value"], float("nan")
        if limit <= 0:  # nothing there to lose: the clean reference is no better than a stranger
            made.append({"model": model, "kind": kind, "measure": name, "level": None})
            continue
        for above, below in zip(own, own[1:], strict=False):
            if below["value"] < limit <= above["value"]:
                share = (above["value"] - limit) / max(1e-9, above["value"] - below["value"])
                place = above["level"] + share * (below["level"] - above["level"])
                break
        made.append({"model": model, "kind": kind, "measure": name, "level": place})
    return made


def tables(found: list[dict[str, Any]], lost: list[dict[str, Any]]) -> dict[str, str]:
    """Where a tenth is lost, then all points."""
    first = ["| model | disturbance | measure | dB at which a tenth is lost |", "|---|---|---|---|"]
    for row in lost:
        level = (
            "no likeness to lose"
            if row["level"] is None
            else "never"
            if np.isnan(row["level"])
            else f"{row['level']:.0f}"
        )
        first.append(f"| {row['model']} | {row['kind']} | {row['measure']} | {level} |")
    second = ["| model | disturbance | dB | measure | figure [95 %] |", "|---|---|---|---|---|"]
    for f in found:
        level = "clean" if f["level"] >= CLEAN else f"{f['level']:.0f}"
        second.append(
            f"| {f['model']} | {f['kind']} | {level} | {f['measure']} "
            f"| {f['value']:.2f} [{f['low']:.2f}, {f['high']:.2f}] |"
        )
    return {"A tenth lost": "\n".join(first), "All figures": "\n".join(second)}


def picture(found: list[dict[str, Any]]) -> Any:
    """One panel a measure, one line a model and disturbance."""

    def plot(figure: Any) -> None:
        for n, name in enumerate(("similarity", "natural", "right"), start=1):
            axes = figure.add_subplot(
                1, 3, n, title=name, xlabel="SNR of the reference, dB (60: clean)"
            )
            for model, kind in dict.fromkeys((f["model"], f["kind"]) for f in found):
                own = [
                    f for f in found if (f["model"], f["kind"], f["measure"]) == (model, kind, name)
                ]
                x, y = [f["level"] for f in own], [f["value"] for f in own]
                (line,) = axes.plot(x, y, marker="o", label=f"{model}, {kind}")
                low, high = [f["low"] for f in own], [f["high"] for f in own]
                axes.fill_between(x, low, high, alpha=0.15, color=line.get_color())
            axes.legend(fontsize=7)

    return plot


def main(
    quick: Annotated[bool, typer.Option("--quick", help="2 references, 3 levels, white.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another, to compare with.")] = None,
    references: Annotated[int, typer.Option(help="How many.")] = REFERENCES,
    shared: Annotated[Path, typer.Option(help="Folder with speech/.")] = comparing.SHARED,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Draw the curves."""
    torch.set_num_threads(threads)
    judges = NamedJudges(threads=threads)
    persons = speakers(shared, 2 if quick else references)
    levels = (CLEAN, 10.0, 0.0) if quick else LEVELS
    kinds = ("white",) if quick else tuple(KINDS)
    rows: list[Row] = []
    for folder in [model or BUILTIN / "mini", *([against] if against else [])]:
        bundle = Bundle.load(folder)
        rows += measure(folder.name, bundle, persons, levels, kinds, judges)
    found = curves(rows)
    lost = lost_a_tenth(found)
    record = {"rows": [asdict(row) for row in rows], "curves": found, "lost": lost}
    comparing.finish(
        "Noise in the reference", "snr", tables(found, lost), record, out, quick, picture(found)
    )


if __name__ == "__main__":
    sys.exit(comparing.run(main, "snr"))
