"""Critical paths: which edges from text to waveform carry pitch, timbre, duration and words.

An edge is patched by giving its sink the mean of what its source usually sends: text -> head (keys and
values at text positions), speech so far -> head, head -> tokens, layer's map -> tokens, tokens -> codes,
codes -> prior (by the encoders, by the direct path), text -> prior heads, prior -> couplings, speaker ->
prior, speaker -> couplings; where the reference's frames are looked up, codes -> memory (what is looked
for), memory -> prior (whose frames they are) and memory -> waveform (whose fine latents are taken). GPT edges are run with the speech's own dice and compared per phoneme. `words` is
the loss of log-probability of the tokens that were said. Keep-only and remove curves against random edges
say whether the ranking means anything.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models.generator import Generator
from ..sites import Moment, attach, record
from . import memory as memories
from . import replay
from .candidates import common_voice, functions_from, mean_shift, usual
from .patching import CLEAN, AtRows, Change, Plain, Rollout, _sound_dice, rollouts
from .replay import Passage, Spoken, guided_path, token_log_probs, variational

TARGETS = ("pitch", "timbre", "duration", "words")
LOST = {"pitch": 12.0}  # an octave: what a phoneme counts that has lost its voice
UNITS = {"pitch": "semitones", "timbre": "latent units", "duration": "s", "words": "nats a token"}
FRACTIONS = (0.05, 0.1, 0.25, 0.5)
RANDOM_SETS = 3
WATCHING = "watching edge"


@dataclass(frozen=True)
class Edge:
    """source -> sink, and what patching it does to each target."""

    source: str
    sink: str
    effects: dict[str, float]

    @property
    def name(self) -> str:
        """For people and files."""
        return f"{self.source} -> {self.sink}"


@dataclass(frozen=True)
class Point:
    """A share of the edges kept or removed, with what that does to the target; random sets beside it."""

    share: float
    edges: int
    ranked: float
    random: tuple[float, ...]


@dataclass(frozen=True)
class Paths:
    """Edges, the strongest for the target first, and the two curves."""

    target: str
    edges: tuple[Edge, ...]
    keep_only: tuple[Point, ...]  # all other edges patched: lower is better
    remove: tuple[Point, ...]  # these edges patched: higher is better
    model: str
    seed: int

    @property
    def faithful(self) -> bool:
        """Whether removing the ranked edges hurts more, on the whole curve, than removing random ones.

        At large shares both curves meet: a random half of the edges cuts every road, too.
        """
        return sum(p.ranked for p in self.remove) > sum(np.mean(p.random) for p in self.remove)

    def to_json(self) -> dict[str, Any]:
        """Every number."""
        return {"kind": "paths", "unit": UNITS[self.target], **asdict(self)}

    def save(self, path: str | Path) -> None:
        """JSON, or a picture by the name's ending (.svg, .png), whole or not at all."""
        target = Path(path)
        part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
        try:
            if target.suffix in (".svg", ".png"):
                from .paths_figure import draw

                draw(self, part)
            elif target.suffix == ".json":
                part.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
            else:
                raise ValueError(f"{target.name}: paths are saved as .json, .svg or .png")
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


Patch = tuple[str, str, Change]  # source, sink, what cuts the edge


def critical_paths(
    speech: Spoken, target: str = "pitch", *, passage: Passage | None = None, seed: int = 0
) -> Paths:
    """Rank every edge of a passage (the longest, if none is given) for a target."""
    if target not in TARGETS:
        raise ValueError(f"paths carry {', '.join(TARGETS)}, not {target!r}")
    said = passage or max(speech.passages, key=lambda p: len(p.tokens))
    patches = [*gpt_edges(speech, said), *generator_edges(speech, said)]
    effects = measure(speech, said, [change for _, _, change in patches])
    edges = [Edge(source, sink, found) for (source, sink, _), found in zip(patches, effects)]
    order = sorted(range(len(edges)), key=lambda i: -edges[i].effects[target])
    curves = _curves(speech, said, [patches[i][2] for i in order], target, seed)
    ranked = tuple(edges[i] for i in order)
    return Paths(target, ranked, *curves, speech.models.name, speech.synthesis.seed)


def _curves(
    speech: Spoken, passage: Passage, ranked: Sequence[Change], target: str, seed: int
) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    dice = np.random.default_rng(seed)
    total = len(ranked)
    sizes = sorted({max(1, round(share * total)) for share in FRACTIONS})
    sets: list[list[int]] = []
    for size in sizes:
        sets.append(list(range(size)))
        sets += [sorted(dice.choice(total, size, replace=False)) for _ in range(RANDOM_SETS)]
    removed = [combined([ranked[i] for i in chosen]) for chosen in sets]
    kept = [combined([ranked[i] for i in range(total) if i not in set(c)]) for c in sets]
    values = [found[target] for found in measure(speech, passage, [*removed, *kept])]
    points: list[tuple[Point, ...]] = []
    for half in (values[len(sets) :], values[: len(sets)]):  # keep-only, remove
        groups = [half[i : i + 1 + RANDOM_SETS] for i in range(0, len(half), 1 + RANDOM_SETS)]
        points.append(tuple(Point(n / total, n, g[0], tuple(g[1:])) for n, g in zip(sizes, groups)))
    return points[0], points[1]


def combined(changes: Sequence[Change]) -> Change:
    """Several edges cut at once; those that watch what comes in (the direct path's) come last."""
    gpt: dict[str, AtRows] = {}
    generator: dict[str, Plain] = {}
    for change in sorted(changes, key=lambda change: change.kind == WATCHING):
        for name, function in change.gpt.items():
            gpt[name] = _then(gpt[name], function) if name in gpt else function
        for name, plain in change.generator.items():
            generator[name] = _after(generator[name], plain) if name in generator else plain
    return Change("edges", f"{len(changes)} edges", gpt, generator)


def _then(first: AtRows, second: AtRows) -> AtRows:
    return lambda x, moment: second(first(x, moment), moment)


def _after(first: Plain, second: Plain) -> Plain:
    return lambda x: second(first(x))


def gpt_edges(speech: Spoken, passage: Passage) -> list[Patch]:
    """Text -> head, speech so far -> head, head -> tokens, layer's map -> tokens."""
    gpt = speech.models.gpt
    means = usual(speech, passage)
    at = functions_from(speech, passage, 0)
    names = ["blocks.*.attn.[kv]", "blocks.*.mlp"]
    with torch.inference_mode(), record(gpt, names) as seen:
        replay.read(speech, passage)
    rows, text = speech.rows(passage), passage.text
    made: list[Patch] = []
    for layer in range(gpt.config.n_layer):
        keys = {part: seen[f"blocks.{layer}.attn.{part}"][0][0] for part in "kv"}  # [H, L, D/H]
        for head in range(gpt.config.n_head):
            title = f"head {layer}.{head}"
            for source, inside in (("text", slice(0, text)), ("speech so far", slice(text, None))):
                edits = {
                    f"blocks.{layer}.attn.{part}": _mean_places(
                        head, values[head, inside].mean(0), source == "text"
                    )
                    for part, values in keys.items()
                }
                made.append((source, title, Change("edge", f"{source} -> {title}", edits)))
            function = at(_constant_head(head, means.heads[layer][head]))
            change = Change("edge", f"{title} -> tokens", {f"blocks.{layer}.attn.z": function})
            made.append((title, "tokens", change))
        mean = seen[f"blocks.{layer}.mlp"][0][0, rows].mean(0)
        change = Change("edge", f"map {layer}", {f"blocks.{layer}.mlp": at(_constant(mean))})
        made.append((f"map {layer}", "tokens", change))
    return made


def _mean_places(head: int, mean: Tensor, is_text: bool) -> AtRows:
    """Keys or values [B, H, T, D/H] of one head: the mean, at text or at speech positions."""

    def edit(x: Tensor, moment: Moment) -> Tensor:
        border = moment.text - moment.positions.start
        place = slice(0, max(0, border)) if is_text else slice(max(0, border), None)
        x = x.clone()
        x[:, head, place] = mean
        return x

    return edit


def _constant_head(head: int, mean: Tensor) -> Callable[[Tensor], Tensor]:
    def function(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, :, head] = mean
        return z

    return function


def _constant(mean: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: mean.expand_as(x)


@torch.inference_mode()
def generator_edges(speech: Spoken, passage: Passage) -> list[Patch]:
    """Tokens -> codes -> prior -> couplings; text and speaker into each."""
    generator = variational(speech.models)
    common = common_voice(speech)
    run = Rollout(passage.tokens, passage.path)
    with record(generator, "prior.mean") as seen:
        _sound(speech, passage, run, CLEAN)
        _sound(speech, passage, run, Change("", "", speaker=common))
    own_mean, other_mean = seen["prior.mean"]
    made: list[Patch] = []

    def add(source: str, sink: str, edits: Mapping[str, Plain]) -> None:
        made.append((source, sink, Change("edge", f"{source} -> {sink}", generator=edits)))

    add("tokens", "codes", {"codes": _mean_rows})
    add("codes", "prior encoder", {"prior.content": _mean_frames})
    if generator.prior.direct is not None:
        change = Change(WATCHING, "codes -> direct path", generator=_even_direct(generator))
        made.append(("codes", "direct path", change))
    for head in range(generator.prior.attn.heads):
        add("text", f"prior head {head}", {"prior.attn.z": _mean_head(head)})
    add("speaker", "prior", {"prior.mean": _shift_by(other_mean.mean(2) - own_mean.mean(2))})
    if memories.looks_up(speech):
        add("memory", "prior", memories.other_look_up(speech))
        looked_for: dict[str, Plain] = {memories.QUERIES: _mean_queries}
        kind = "edge"
        if generator.config.retrieval:
            retrieval, kind = memories.Retrieval(generator), WATCHING
            other = memories.heard_of(generator, memories.common_memory(speech))
            fine = retrieval.edits(lambda: retrieval.from_memory(other))
            made.append(("memory", "waveform", Change(kind, "memory -> waveform", generator=fine)))
            looked_for |= retrieval.edits(retrieval.from_mean_codes)
        made.append(("codes", "memory", Change(kind, "codes -> memory", generator=looked_for)))
    for number in range(len(generator.flow.couplings)):
        site = f"flow.couplings.{number}.out"
        own = speech.voice.speaker
        add("prior", f"coupling {number}", {site: mean_shift(generator, number, own, 0)})
        add("speaker", f"coupling {number}", {site: _other_speaker(speech, number, common)})
    return made


def _mean_rows(codes: Tensor) -> Tensor:  # [B, 2S, C]
    return codes.mean(1, keepdim=True).expand_as(codes)


def _mean_frames(x: Tensor) -> Tensor:  # [B, C, T]
    return x.mean(2, keepdim=True).expand_as(x)


def _mean_queries(query: Tensor) -> Tensor:  # [B, H, T, M/H]
    return query.mean(2, keepdim=True).expand_as(query)


def _even_direct(generator: Generator) -> dict[str, Plain]:
    """The direct path reads the mean code, whatever codes come in; all else reads them as they are."""
    direct = generator.prior.direct
    assert direct is not None
    came: list[Tensor] = []

    def watch(codes: Tensor) -> Tensor:  # [B, 2S, C]
        came[:] = [codes]
        return codes

    def even(mean: Tensor) -> Tensor:  # [B, Z, 2S]: at normal speed
        codes = came[0]
        read, flat = (x.transpose(1, 2) for x in (codes, _mean_rows(codes)))
        return mean + direct.codes(direct.around(flat)) - direct.codes(direct.around(read))

    return {"codes": watch, "prior.mean": even}


def _shift_by(shift: Tensor) -> Plain:
    return lambda mean: mean + shift[..., None]


def _mean_head(head: int) -> Plain:
    def edit(z: Tensor) -> Tensor:  # [B, T, H, D/H]
        z = z.clone()
        z[:, :, head] = z[:, :, head].mean(1, keepdim=True)
        return z

    return edit


def _other_speaker(speech: Spoken, number: int, common: Tensor) -> Plain:
    """The shift that a coupling would make for the common voice."""
    coupling = variational(speech.models).flow.couplings[number]

    def edit(out: Tensor) -> Tensor:
        first, second = out[:, : coupling.half], out[:, coupling.half :]
        mask = out.new_ones(1, 1, out.shape[2])
        own, other = (
            coupling._shift(first, mask, vector[None, :, None])
            for vector in (speech.voice.speaker, common)
        )
        return torch.cat([first, second + own - other], dim=1)

    return edit


@torch.inference_mode()
def measure(speech: Spoken, passage: Passage, changes: Sequence[Change]) -> list[dict[str, float]]:
    """What each change does to every target, against the clean run with the same dice."""
    steps = len(passage.tokens)
    every = rollouts(speech, passage, [CLEAN, *changes], 1, steps, 1)
    runs = [made[0] for made in every]
    clean = _features(speech, passage, runs[0], CLEAN)
    surprise = _surprise(speech, passage, CLEAN)
    found = []
    for change, run in zip(changes, runs[1:], strict=True):
        made = _features(speech, passage, run, change)
        effects = {name: _apart(clean[name], made[name], LOST.get(name)) for name in clean}
        effects["words"] = (_surprise(speech, passage, change) - surprise) if change.gpt else 0.0
        found.append(effects)
    return found


def _surprise(speech: Spoken, passage: Passage, change: Change) -> float:
    """Mean -log p of the tokens that were said, teacher-forced."""
    edits = {name: _timed(function) for name, function in change.gpt.items()}
    logits = replay.read(speech, passage, edits)
    return -float(token_log_probs(logits, passage).mean())


def _timed(function: AtRows) -> Callable[..., Tensor]:
    from ..sites import timed

    return timed(lambda x, moment: function(x, moment))


def _features(
    speech: Spoken, passage: Passage, run: Rollout, change: Change
) -> dict[str, np.ndarray]:
    """Per phoneme: pitch [P], timbre [P, C], duration [P]; nan where it is not said."""
    octaves, latents = _sound(speech, passage, run, change)
    path, count = np.array(run.path), len(passage.ids)
    pitch, timbre = np.full(count, np.nan), np.full((count, latents.shape[1]), np.nan)
    for phoneme in range(count):
        mine = path == phoneme
        if mine.any():
            timbre[phoneme] = latents[mine].mean(0)
            voiced = octaves[mine][np.isfinite(octaves[mine])]
            pitch[phoneme] = 12 * voiced.mean() if len(voiced) else np.nan
    lengths = np.bincount(path, minlength=count).astype(float) * 0.04
    return {"pitch": pitch, "timbre": timbre, "duration": lengths}


def _sound(
    speech: Spoken, passage: Passage, run: Rollout, change: Change
) -> tuple[np.ndarray, np.ndarray]:
    """log2 F0 [S] and the decoder's latents without the pitch [S, C] of one run."""
    generator = variational(speech.models)
    pulled = bool(generator.config.prior.pull) and bool(guided_path(speech, passage))
    vector = speech.voice.speaker if change.speaker is None else change.speaker
    with attach(generator, change.generator):
        output = generator.decode(
            torch.tensor([run.tokens]), torch.tensor([passage.ids]), vector[None],
            _sound_dice(speech, passage, 0, run), 1.0,
            torch.tensor([run.path]) if pulled else None, speech.voice.memory,
        )  # fmt: skip
    count = len(run.tokens)
    f0 = output.f0[0].float().numpy()
    frames = np.where(f0 > 0, np.log2(np.maximum(f0, 1.0)), np.nan).reshape(count, -1)
    heard = np.isfinite(frames)
    sums = np.where(heard, frames, 0.0).sum(1)
    octaves = np.where(heard.any(1), sums / np.maximum(heard.sum(1), 1), np.nan)
    z = output.latents[0, 4:].float().numpy()  # [C, 2 S]
    return octaves, z.T.reshape(count, -1, len(z)).mean(1)


def _apart(one: np.ndarray, other: np.ndarray, lost: float | None = None) -> float:
    """Root mean square difference [P] or [P, C] over what the clean run has; what is gone from the other counts as
    `lost`, or, without it, as the clean run's distance from its own mean.
    """
    known = np.isfinite(one)
    if not known.any():
        return 0.0
    gap = np.abs(one - other)
    away = np.abs(one - np.nanmean(one, axis=0)) if lost is None else np.full_like(one, lost)
    gap = np.where(np.isfinite(gap), gap, away)
    return float(np.sqrt(np.mean(gap[known] ** 2)))


def shared_edges(several: Sequence[Paths]) -> list[tuple[str, float]]:
    """Mean effect of each edge over utterances, the strongest first."""
    if not several:
        raise ValueError("no paths were given")
    totals: dict[str, list[float]] = {}
    for paths in several:
        for edge in paths.edges:
            totals.setdefault(edge.name, []).append(edge.effects[paths.target])
    means = {name: reduce(float.__add__, values) / len(values) for name, values in totals.items()}
    return sorted(means.items(), key=lambda pair: -pair[1])
