"""Concept directions: what sets clips (or texts) with a quality apart from those without it.

`learn` takes two folders of clips, or two lists of texts (one a line), runs both through the model, and
averages what passes each candidate site: GPT residuals, the generator's latents, the speaker vector. The
direction is the difference of means, or the first principal component of the differences ("pca"). The
winning place is the one whose direction tells held-out items apart best (AUROC, leave-pairs-out). Two
directions of one site add and subtract; `*` scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from .. import audio
from ..engine import check_options, default_voice, tts
from ..pipeline import Pipeline
from ..sites import record
from ..voice import Voice, find
from .checks import SPEAKER, check_site, known_sites
from .edits import Concept

if TYPE_CHECKING:
    from ..bundle import Bundle

LEAST = 4  # items on each side: two to learn from and two to try on
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus")
Vectors = dict[str, NDArray[np.float64]]  # site -> [D] of one item


@dataclass(frozen=True)
class Direction:
    """A learnt direction at a site. It can be added to others of that site, and scaled."""

    name: str
    site: str
    vector: tuple[float, ...]
    model: str = ""
    places: tuple[tuple[str, float], ...] = ()  # every site tried, with its AUROC

    def edit(self, amount: float = 1.0, word: str | int | None = None) -> Concept:
        """The edit that adds it; amount 1 is the whole way from one side to the other."""
        return Concept(
            name=self.name, site=self.site, direction=self.vector, amount=amount, word=word
        )

    def __add__(self, other: Direction) -> Direction:
        if (self.site, self.model) != (other.site, other.model):
            raise ValueError(
                f"{self.name!r} lives at {self.site}, {other.name!r} at {other.site}: "
                "only directions of one place add up"
            )
        total = np.array(self.vector) + np.array(other.vector)
        return replace(
            self, name=f"{self.name} + {other.name}", vector=tuple(total.tolist()), places=()
        )

    def __mul__(self, factor: float) -> Direction:
        scaled = tuple((factor * np.array(self.vector)).tolist())
        return replace(self, name=f"{factor:g} {self.name}", vector=scaled, places=())

    __rmul__ = __mul__

    def __neg__(self) -> Direction:
        return self * -1.0

    def __sub__(self, other: Direction) -> Direction:
        return self + -other

    def random_twin(self, seed: int = 0) -> Direction:
        """A random direction of the same length: what any push of this size would do."""
        dice = np.random.default_rng(seed).standard_normal(len(self.vector))
        dice *= np.linalg.norm(self.vector) / np.linalg.norm(dice)
        return replace(self, name=f"random as {self.name}", vector=tuple(dice.tolist()), places=())


def learn(
    name: str,
    these: Path | Sequence[str],
    those: Path | Sequence[str],
    *,
    models: Bundle | None = None,
    site: str = "",
    method: str = "mean",
    voice: Voice | str | None = None,
    seed: int = 0,
) -> Direction:
    """Learn what sets `these` apart from `those`: folders of clips, files or lists of texts."""
    if method not in ("mean", "pca"):
        raise ValueError(f"a direction is learnt by mean or pca, not {method!r}")
    pipeline = tts.pipeline(models)
    if site:
        check_site(site, known_sites(pipeline.models))
    sides = [_side(pipeline, side, site, voice, seed) for side in (these, those)]
    return learn_from(name, *sides, model=pipeline.models.name, site=site, method=method)


def learn_from(
    name: str,
    these: Sequence[Vectors],
    those: Sequence[Vectors],
    *,
    model: str = "",
    site: str = "",
    method: str = "mean",
) -> Direction:
    """The same from vectors already taken, one dict of site -> [D] an item."""
    for side in (these, those):
        if len(side) < LEAST:
            raise ValueError(f"a direction needs {LEAST} items a side; one side has {len(side)}")
    places = [site] if site else sorted(set.intersection(*(set(item) for item in (*these, *those))))
    if not places or any(site not in item for item in (*these, *those) if site):
        raise ValueError(f"nothing was recorded at {site or 'any common site'}")
    scores: list[tuple[str, float]] = []
    for place in places:
        one = np.stack([item[place] for item in these])
        other = np.stack([item[place] for item in those])
        scores.append((place, held_out_auroc(one, other, method)))
    scores.sort(key=lambda pair: -pair[1])
    best = scores[0][0]
    one, other = (np.stack([item[best] for item in side]) for side in (these, those))
    vector = direction(one, other, method)
    return Direction(name, best, tuple(vector.tolist()), model, tuple(scores))


def direction(one: NDArray[np.float64], other: NDArray[np.float64], method: str) -> np.ndarray:
    """[N, D] and [M, D] -> [D], pointing from `other` to `one`, as long as the means lie apart."""
    apart = one.mean(0) - other.mean(0)
    if method == "mean":
        return apart
    count = min(len(one), len(other))
    gaps = one[:count] - other[:count]
    axis = np.linalg.svd(np.concatenate([gaps, -gaps]), full_matrices=False)[2][0]
    return axis * float(axis @ apart)


def held_out_auroc(one: NDArray[np.float64], other: NDArray[np.float64], method: str) -> float:
    """How well directions learnt without an item place it: leave one of each side out."""
    wins, tried = 0.0, 0
    for i in range(len(one)):
        j = i % len(other)
        axis = direction(np.delete(one, i, 0), np.delete(other, j, 0), method)
        gap = float((one[i] - other[j]) @ axis)
        wins += 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
        tried += 1
    return wins / tried


def _side(
    pipeline: Pipeline, side: Path | Sequence[str], site: str, voice: Voice | str | None, seed: int
) -> list[Vectors]:
    if isinstance(side, Path) and side.is_dir():
        return _heard(pipeline, side, site)
    if isinstance(side, Path):
        if not side.is_file():
            raise FileNotFoundError(f"no such folder or file of texts: {side}")
        side = side.read_text(encoding="utf-8").splitlines()
    texts = [line.strip() for line in side if line.strip()]
    return [_said(pipeline, text, site, voice, seed) for text in texts]


def _heard(pipeline: Pipeline, folder: Path, site: str) -> list[Vectors]:
    """Clips -> speaker vector, and the generator's latents when it speaks their tokens."""
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in SOUNDS)
    if not clips:
        raise ValueError(f"{folder} holds no clips ({', '.join(SOUNDS)})")
    models = pipeline.models
    if site and not (site == SPEAKER or site.startswith("generator.")):
        raise ValueError(f"clips say nothing of {site}: give lists of texts, or another site")
    sites_wanted = ["prior.mean", "prior.content", "decoder.latents"]
    if site.startswith("generator."):
        sites_wanted = [site.removeprefix("generator.")]
    made = []
    for clip in clips:
        wave, rate = audio.read_audio(clip)
        item: Vectors = {}
        if site in ("", SPEAKER):
            item[SPEAKER] = models.speaker_vector(wave, rate).double().numpy()
        if site != SPEAKER:
            voice = Voice.heard(clip.stem, wave, rate, models)
            with record(models.generator, sites_wanted) as seen:
                pipeline.convert(wave, rate, voice, check_options({"seed": 0}))
            for name, values in seen.items():
                item[f"generator.{name}"] = _mean([_frames_last(v) for v in values])
        made.append(item)
    return made


def _frames_last(values: torch.Tensor) -> torch.Tensor:
    return values[0].transpose(0, 1)  # [C, T] -> [T, C]


def _said(
    pipeline: Pipeline, text: str, site: str, voice: Voice | str | None, seed: int
) -> Vectors:
    """A text -> the GPT's residuals in the rows that speak."""
    if site and not site.startswith("gpt."):
        raise ValueError(f"texts say little of {site}: give folders of clips, or a site of the GPT")
    models = pipeline.models
    chosen = find(voice or default_voice(text), model=models)
    names = [site.removeprefix("gpt.")] if site else ["blocks.*.resid"]
    options = check_options({"seed": seed, "takes": 1}).suited(models.config)
    with record(models.gpt, names) as seen:
        pipeline.synthesise(text, chosen, options)
    steps = {name: [v for v in values if v.shape[1] == 1] for name, values in seen.items()}
    return {
        f"gpt.{name}": _mean([v[0].flatten(1) for v in values]) for name, values in steps.items()
    }


def _mean(values: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    """Mean over all rows of [T, D] tensors."""
    if not values:
        raise ValueError("nothing was said, so nothing could be recorded")
    return torch.cat(list(values)).double().mean(0).numpy()
