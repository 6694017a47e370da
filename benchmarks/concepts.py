"""Directions for anger, tenderness and calm, learnt from clips chosen by measured prosody; files of those that hold.

    python benchmarks/concepts.py out.json src/voxray/builtin/concepts  # out.json: of benchmarks/explain.py

There are no emotional recordings among the data: what is learnt are proxies, and they are called so. Of each
training speaker the clips that are highest and lowest in a concept's measures are taken: `anger` is high, loud and
fast against low, soft and slow; `tenderness` soft and dark against loud and bright; `calm` even and slow against
lively and fast. The words said differ between the clips, the speaker does not. A direction is the mean over speakers
of the difference. Effects are measured in the same way on what the model says, in standard deviations of one
speaker's clips. `row_concept` of explain_rows_concepts.py tests them; a concept holds if the goals of that row are met.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from explain_plan import Unmeasured

from voxray import audio
from voxray.bundle import Bundle
from voxray.explain import alignment, replay
from voxray.explain.statistics import auroc
from voxray.sites import record

Floats = np.ndarray
QUALITIES = ("pitch", "range", "level", "rate", "brightness")
CONCEPTS = {
    "anger": {"pitch": 1.0, "level": 1.0, "rate": 1.0},
    "tenderness": {"level": -1.0, "brightness": -1.0},
    "calm": {"range": -1.0, "rate": -1.0},
}
PLACES = {
    "GPT": "gpt.blocks.*.resid",
    "heads": "gpt.blocks.*.attn.z",
    "generator": "generator.*",
}
GENERATOR = ("prior.mean", "decoder.latents", "codes")
SLOW = ("so96", "so70", "so80")  # the data's README: read slowly, often unclear
CLIPS, TAKEN = 12, 2  # of a speaker: listened to, and taken at each end
ACTIVE_DB = 25.0  # below the loudest frame: silence


@dataclass(frozen=True)
class Heard:
    """A clip: who says it, its measures [Q] and, where wanted, what passed each site."""

    speaker: str
    text: str
    path: Path
    measures: Floats


@dataclass(frozen=True)
class Learnt:
    """A concept's direction at each site, and how well it places clips of speakers left out."""

    name: str
    directions: dict[str, Floats]
    scores: dict[str, float]

    def best(self, place: str) -> str:
        """The site of a place with the highest score."""
        begin, end = PLACES[place].split("*")
        fitting = [s for s in self.directions if s.startswith(begin) and s.endswith(end)]
        return max(fitting, key=lambda site: self.scores[site])


def qualities(wave: Floats, rate: int, phonemes: int) -> Floats:
    """Pitch (semitones), its range, level (dB), phonemes a second, dB above 2 kHz over below, [Q]."""
    f0 = audio.f0(wave, rate, 0.01)
    tones = 12 * np.log2(f0[f0 > 0])
    size = round(0.02 * rate)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::size].astype(np.float64)
    power = 10 * np.log10((frames**2).mean(1) + 1e-9)
    active = power > power.max() - ACTIVE_DB
    spectrum = (np.abs(np.fft.rfft(frames[active] * np.hanning(size))) ** 2).sum(0)
    edge = round(2000 * size / rate)
    bright = 10 * np.log10(
        (spectrum[edge : 4 * edge].sum() + 1e-9) / (spectrum[:edge].sum() + 1e-9)
    )
    if len(tones) < 5:
        return np.full(len(QUALITIES), np.nan)
    level = 10 * np.log10((frames[active] ** 2).mean() + 1e-9)
    return np.array([tones.mean(), tones.std(), level, phonemes / (0.02 * active.sum()), bright])


def score(name: str, measures: Floats) -> Floats:
    """A concept's measure [...] of standardised qualities [..., Q]."""
    weights = np.array([CONCEPTS[name].get(quality, 0.0) for quality in QUALITIES])
    return measures @ weights / np.abs(weights).sum()


def listen(models: Bundle, shared: Path, speakers: int) -> list[Heard]:
    """Measure clips of so many training speakers."""
    path = shared / "speech" / "manifest.tsv"
    if not path.is_file():
        raise Unmeasured(f"no recorded speech in {shared.name}/: give --shared")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if row["corpus"] == "speechocean762" and row["split"] == row["use"] == "train"
            and 2.0 <= float(row["duration_s"]) <= 6.0
            and not row["speaker"].lower().startswith(SLOW)
        ]  # fmt: skip
    front = models.text_pipeline()
    found: list[Heard] = []
    taken = 0
    for speaker in dict.fromkeys(row["speaker"] for row in rows):
        mine = [row for row in rows if row["speaker"] == speaker][:CLIPS]
        if len(mine) < CLIPS or taken == speakers:
            continue
        taken += 1
        for row in mine:
            file_ = path.parent / row["path"]
            wave, rate = audio.read_audio(file_)
            measures = qualities(wave, rate, len(front(row["text"])))
            if np.isfinite(measures).all():
                found.append(Heard(speaker, row["text"], file_, measures))
    return found


def spread(clips: list[Heard]) -> Floats:
    """Standard deviation within a speaker [Q]."""
    return np.sqrt(np.mean([np.var(rows, 0) for rows in _by_speaker(clips).values()], axis=0))


def _by_speaker(clips: list[Heard]) -> dict[str, Floats]:
    names = dict.fromkeys(clip.speaker for clip in clips)
    return {n: np.stack([c.measures for c in clips if c.speaker == n]) for n in names}


def ends(name: str, clips: list[Heard]) -> list[tuple[str, list[Heard], list[Heard]]]:
    """For each speaker the clips highest and lowest in a concept."""
    made = []
    scale = spread(clips)
    for speaker in dict.fromkeys(clip.speaker for clip in clips):
        mine = [clip for clip in clips if clip.speaker == speaker]
        order = np.argsort([float(score(name, clip.measures / scale)) for clip in mine])
        ranked = [mine[i] for i in order]
        if len(ranked) >= 2 * TAKEN:
            made.append((speaker, ranked[-TAKEN:], ranked[:TAKEN]))
    return made


@torch.inference_mode()
def vectors(models: Bundle, clip: Heard) -> dict[str, Floats]:
    """Means over the clip of what passes each candidate site, the clip's own tokens teacher-forced."""
    wave, rate = audio.read_audio(clip.path)
    opened = alignment.hear(models, clip.text, wave, rate)
    speech, passage = opened.spoken, opened.spoken.passages[0]
    made: dict[str, Floats] = {}
    with record(models.gpt, ["blocks.*.resid", "blocks.*.attn.z"]) as seen:
        replay.read(speech, passage)
    for name, values in seen.items():
        made[f"gpt.{name}"] = values[0][0, speech.rows(passage)].flatten(1).double().mean(0).numpy()
    with record(models.generator, list(GENERATOR)) as seen:
        replay.decode(speech, passage)
    for name, values in seen.items():
        axis = 1 if name == "codes" else 2
        made[f"generator.{name}"] = values[0].double().mean(axis)[0].numpy()
    return made


def learn(models: Bundle, clips: list[Heard], names: list[str]) -> list[Learnt]:
    """Directions of some concepts at every site."""
    held: dict[Path, dict[str, Floats]] = {}

    def mean_of(side: list[Heard], site: str) -> Floats:
        return np.mean([held[clip.path][site] for clip in side], axis=0)

    found = []
    for name in names:
        groups = ends(name, clips)
        for _, high, low in groups:
            for clip in (*high, *low):
                if clip.path not in held:
                    held[clip.path] = vectors(models, clip)
        sites = list(next(iter(held.values())))
        gaps = {
            site: np.stack([mean_of(high, site) - mean_of(low, site) for _, high, low in groups])
            for site in sites
        }  # [speakers, D]
        scores = {site: _held_out(gaps[site], groups, held, site) for site in sites}
        found.append(Learnt(name, {site: gap.mean(0) for site, gap in gaps.items()}, scores))
    return found


def _held_out(gaps: Floats, groups: list, held: dict, site: str) -> float:
    """AUROC of clips of speakers left out, each speaker's mean taken away."""
    values, truth = [], []
    for number, (_, high, low) in enumerate(groups):
        axis = np.delete(gaps, number, 0).mean(0)
        rows = np.stack([held[clip.path][site] for clip in (*high, *low)])
        values += ((rows - rows.mean(0)) @ axis).tolist()
        truth += [True] * len(high) + [False] * len(low)
    return auroc(values, truth)


def main(
    figures: Annotated[Path, typer.Argument(help="JSON of benchmarks/explain.py.")],
    folder: Annotated[Path, typer.Argument(help="Where the files of edits go.")],
    model: Annotated[Path | None, typer.Option(help="A model's folder; default: mini.")] = None,
) -> None:
    """Write the directions that hold, as edits; say which do not."""
    from voxray.steer import Concept, Edits

    found = json.loads(figures.read_text("utf-8"))["found"]
    models = Bundle.builtin() if model is None else Bundle.load(model)
    if "concept" not in found:
        raise typer.BadParameter("these figures hold no row `concept`")
    for row in found["concept"]["rows"]:
        if not row["data"]:
            continue
        name, held = row["data"]["name"], row["met"]
        print(f"{name}: {'written' if held else 'not found: ' + row['note']}")
        if held:
            edit = Concept(
                name=name, site=row["data"]["site"], direction=tuple(row["data"]["direction"])
            )
            folder.mkdir(parents=True, exist_ok=True)
            note = "a proxy learnt from prosody, not from feelings: benchmarks/concepts.py"
            Edits(model=models.name, note=note, edits=(edit,)).save(folder / f"{name}.json")


if __name__ == "__main__":
    sys.exit(typer.run(main))
