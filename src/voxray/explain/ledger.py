"""The timbre ledger: who decides whose voice it is - tokens, memory, prior, flow, or decoder.

In: passages by several speakers. For each pair (from, to) everything is spoken in the first one's voice
and then each part is given the second one's, in every combination (2^n runs): the tokens, what is remembered
of the reference, the speaker vector at the prior, at the flow, at the decoder. Out: each part's Shapley share of the gain in likeness
to the target; the shares sum to the whole gain exactly, interactions split evenly. With additive effects
this is the ANOVA's main effect. `conductance` asks the couplings of the flow the same by gradients: their
updates are additive and keep volume (A shift each), so that their parts sum to the change of the sound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..models.generator import Generator
from ..models.memory import Memory
from ..sites import attach
from . import memory as memories
from . import replay, stages
from .properties import likeness
from .replay import Passage, Spoken
from .statistics import Interval, bootstrap

HEARERS = ("prior", "flow", "decoder")  # of the speaker vector
PARTS = ("tokens", "memory", *HEARERS)
SMALL = 0.02  # gain in likeness below which a pair is skipped

Listen = Callable[[NDArray[np.float32], int], NDArray[np.floating]]  # sound, rate -> vector
Subset = frozenset[str]


@dataclass(frozen=True)
class Member:
    """One who takes part: the voice's speaker vector [G], tokens [S] as that speaker said them, memory."""

    name: str
    speaker: Tensor
    tokens: tuple[int, ...]
    memory: Memory | None = None  # of models that look up the reference's frames


@dataclass(frozen=True)
class Ledger:
    """Shares of the likeness, averaged over pairs, with intervals; `skipped` pairs gained too little."""

    shares: Mapping[str, Interval]
    gain: Interval  # cosine to the target: all parts changed, less none changed
    interaction: Interval  # gain less the parts' effects alone, as a share
    path: Interval  # tokens and speaker vector together, the memory left out
    pairs: int
    skipped: int
    judge: str
    claim: str = "parts exchanged between speakers, same dice"

    @property
    def total(self) -> float:
        """What the shares sum to: 1 but for rounding."""
        return sum(share.value for share in self.shares.values())


def parts_of(generator: Generator, members: Sequence[Member] = ()) -> tuple[str, ...]:
    """The parts that hear the speaker in this model, the tokens, and the memory if a member has one."""
    absent = set[str]()
    if not getattr(generator.decoder.config, "speaker_width", 1):
        absent.add("decoder")
    if generator.prior.memory is None or all(member.memory is None for member in members):
        absent.add("memory")
    return tuple(part for part in PARTS if part not in absent)


@torch.inference_mode()
def combinations(
    speech: Spoken,
    passage: Passage,
    source: Member,
    target: Member,
    parts: Sequence[str] | None = None,
) -> dict[Subset, NDArray[np.float32]]:
    """The sound [N] of every combination of the target's parts in the source's speech."""
    generator = replay.variational(speech.models)
    length = min(len(source.tokens), len(target.tokens), len(passage.tokens))
    short = _cut(passage, length)
    codes = {
        who.name: stages.codes_of(generator, torch.tensor([who.tokens[:length]]))
        for who in (source, target)
    }
    nothing = memories.nothing(generator)
    made: dict[Subset, NDArray[np.float32]] = {}
    for chosen in subsets(parts or parts_of(generator, (source, target))):
        given = {part: target if part in chosen else source for part in PARTS}
        speakers = [given[part].speaker[None] for part in HEARERS]
        cast = stages.Cast(*speakers, memory=given["memory"].memory or nothing)
        sound = stages.speak(speech, short, codes[given["tokens"].name], cast)
        made[chosen] = sound.audio[0].clamp(-1, 1).float().numpy()
    return made


def _cut(passage: Passage, tokens: int) -> Passage:
    from dataclasses import replace

    return replace(passage, tokens=passage.tokens[:tokens], path=passage.path[:tokens])


def subsets(parts: Sequence[str]) -> list[Subset]:
    """All combinations, none and all included."""
    sizes = range(len(parts) + 1)
    return [frozenset(chosen) for size in sizes for chosen in itertools.combinations(parts, size)]


def shapley(values: Mapping[Subset, float], parts: Sequence[str]) -> dict[str, float]:
    """Each part's share of values[all] - values[none], averaged over all orders of joining."""
    count = len(parts)
    shares = {}
    for part in parts:
        rest = [other for other in parts if other != part]
        total = 0.0
        for before in subsets(rest):
            weight = math.factorial(len(before)) * math.factorial(count - len(before) - 1)
            total += weight * (values[before | {part}] - values[before])
        shares[part] = total / math.factorial(count)
    return shares


def own_ear(generator: Generator) -> Listen:
    """The model's own speaker encoder as judge: no independent one, and named so."""

    @torch.inference_mode()
    def listen(wave: NDArray[np.float32], rate: int) -> NDArray[np.floating]:
        from .. import audio

        heard = audio.resample(wave, rate, generator.reference_rate)
        return generator.speaker_vector(torch.from_numpy(heard)[None])[0].float().numpy()

    return listen


def ledger(
    speech: Spoken,
    members: Sequence[Member],
    *,
    listen: Listen | None = None,
    judge: str = "the model's own speaker encoder",
    pairs: Sequence[tuple[int, int]] | None = None,
) -> Ledger:
    """Share out the likeness over all ordered pairs of members (or the given ones)."""
    if len(members) < 2:
        raise ValueError(f"a ledger needs two speakers or more; there are {len(members)}")
    generator = replay.variational(speech.models)
    ear = listen or own_ear(generator)
    rate = generator.config.sample_rate
    parts = parts_of(generator, members)
    chosen = pairs or list(itertools.permutations(range(len(members)), 2))
    rows: list[dict[str, float]] = []
    skipped = 0
    for one, other in chosen:
        sounds = combinations(speech, speech.passages[0], members[one], members[other], parts)
        goal = ear(sounds[frozenset(parts)], rate)
        likeness_of = {who: _cosine(ear(wave, rate), goal) for who, wave in sounds.items()}
        nothing, everything = likeness_of[frozenset()], likeness_of[frozenset(parts)]
        gain = everything - nothing
        if gain < SMALL:
            skipped += 1
            continue
        shares = shapley(likeness_of, parts)
        alone = sum(likeness_of[frozenset({part})] - nothing for part in parts)
        row = {part: share / gain for part, share in shares.items()}
        path = sum(share for part, share in row.items() if part != "memory")
        rows.append({**row, "gain": gain, "interaction": (gain - alone) / gain, "path": path})
    if len(rows) < 3:
        raise ValueError(
            f"only {len(rows)} of {len(chosen)} pairs changed the voice by {SMALL}: too few to share"
        )
    table = {name: bootstrap([row[name] for row in rows]) for name in rows[0]}
    return Ledger(
        shares={part: table[part] for part in parts},
        gain=table["gain"],
        interaction=table["interaction"],
        path=table["path"],
        pairs=len(rows),
        skipped=skipped,
        judge=judge,
    )


def _cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9))


def gradient_shares(
    speech: Spoken, source: Member, target: Member, *, steps: int = 16
) -> dict[str, float]:
    """The same shares by integrated gradients along the straight way from source to target.

    The end is the sound with all parts the target's; likeness is to it, by the model's own encoder.
    Memories differ in length: the way between them is straight in what is read (`memory.between`).
    Which frames the fine latents come from would jump on the way: between the ends, these latents go
    straight from those of one end to those of the other, for the tokens and for the memory.
    """
    from .attribution import integrated_gradients

    generator = replay.variational(speech.models)
    passage = speech.passages[0]
    length = min(len(source.tokens), len(target.tokens), len(passage.tokens))
    short = _cut(passage, length)
    parts = parts_of(generator, (source, target))
    old, new = (who.memory or memories.nothing(generator) for who in (source, target))
    ends = []
    for who, share in ((source, torch.zeros(())), (target, torch.ones(()))):
        codes = stages.codes_of(generator, torch.tensor(who.tokens[:length]))
        firsts = {"tokens": codes, "memory": share}
        ends.append([firsts.get(part, who.speaker) for part in parts])
    with torch.no_grad():
        cast = stages.Cast.one(target.speaker[None], new)
        whole = stages.speak(speech, short, ends[1][0][None], cast)
        goal = _vector(generator, whole.audio)[0]
    held = whole.f0 if whole.f0.shape[1] else None
    first, last = (end[0] for end in ends)  # [S, C]
    fine = None
    if "memory" in parts and generator.config.retrieval:
        casts = [stages.Cast.one(m.speaker[None], r) for m, r in ((source, old), (target, new))]
        fine = [
            torch.cat([stages.fine_latents(speech, short, codes[None], cast) for cast in casts])
            for codes in (first, last)
        ]

    def function(groups: Sequence[Tensor]) -> Tensor:
        given = dict(zip(parts, groups, strict=True))
        speakers = [given.get(part, given["flow"]) for part in HEARERS]
        edits = {}
        if "memory" in given:
            taken = fine and _taken(stages.place(given["tokens"], first, last), *fine)
            edits = memories.between(generator, old, new, given["memory"], taken)
        with attach(generator, edits):
            made = stages.speak(
                speech, short, given["tokens"], stages.Cast(*speakers, memory=old), held
            )
        return likeness(generator, made.audio, goal)

    made = integrated_gradients(function, ends[1], ends[0], steps=steps, batch=4)
    sums = [float(part.sum()) for part in made.attributions]
    total = made.value - made.baseline_value
    return {part: value / total for part, value in zip(parts, sums, strict=True)}


def _taken(place: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Fine latents [B, F, T] of both memories for tokens on the way; [2, F, T] at its ends."""
    source, target = (one + place[:, None, None, None] * (other - one)).unbind(1)
    return source, target


def _vector(generator: Generator, wave: Tensor) -> Tensor:
    from ..audio.published import sinc_resample

    heard = sinc_resample(wave, generator.config.sample_rate, generator.reference_rate)
    return generator.speaker_vector(heard)


@dataclass(frozen=True)
class Conductance:
    """How much of a change of the sound each coupling of the flow writes, and its base (the prior)."""

    parts: Mapping[str, float]
    delta: float

    @property
    def completeness_error(self) -> float:
        """|sum - delta| / |delta|."""
        return abs(sum(self.parts.values()) - self.delta) / max(abs(self.delta), 1e-12)


def conductance(
    speech: Spoken,
    passage: Passage,
    function: Callable[[Tensor], Tensor],
    codes: tuple[Tensor, Tensor],
    speakers: tuple[Tensor, Tensor],
    *,
    steps: int = 32,
) -> Conductance:
    """Along the way from codes[0], speakers[0] to codes[1], speakers[1]: who writes the change?

    `function` reads the property off latents [n, Z, T] -> [n]. The last latents are the prior's,
    turned by the flow's flips, plus every coupling's shift, plus what is retrieved from the memory
    in their place (of models that do so), so that the parts sum to the change.
    """
    generator = replay.variational(speech.models)
    couplings = len(generator.flow.couplings)
    names = ["prior", *[f"coupling {i}" for i in range(couplings)]]
    if generator.config.retrieval:
        names.append("memory")
    places = torch.linspace(0, 1, steps + 1)
    previous: list[Tensor] = []
    totals = dict.fromkeys(names, 0.0)
    values = []
    for place in places.tolist():
        point = codes[0] + place * (codes[1] - codes[0])
        who = speakers[0] + place * (speakers[1] - speakers[0])
        with torch.no_grad():
            terms = _written(speech, passage, point[None], who[None], couplings)
        z = sum(terms)
        if previous:
            middle = (z + sum(previous)) / 2
            with torch.enable_grad():
                leaf = middle.detach().clone().requires_grad_()
                (gradient,) = torch.autograd.grad(function(leaf).sum(), leaf)
            for name, now, before in zip(names, terms, previous, strict=True):
                totals[name] += float((gradient * (now - before)).sum())
        with torch.no_grad():
            values.append(float(function(z)))
        previous = terms
    return Conductance(totals, values[-1] - values[0])


def _written(
    speech: Spoken, passage: Passage, codes: Tensor, speaker: Tensor, couplings: int
) -> list[Tensor]:
    """The last latents [1, Z, T] as a sum: the prior's, each coupling's shift, what the memory exchanged."""
    from ..sites import record

    generator = replay.variational(speech.models)
    wanted = [f"flow.couplings.{i}.out" for i in range(couplings)]
    with record(generator, wanted) as seen:
        last = stages.latents(speech, passage, codes, stages.Cast.one(speaker))
    outs = [seen[name][0] for name in wanted]  # the inverse meets the last coupling first
    terms = {}
    half = outs[0].shape[1] // 2
    for i in reversed(range(couplings)):
        if i + 1 < couplings:
            entered = outs[i + 1].flip(1)
            terms[i] = _turned(F.pad((outs[i] - entered)[:, half:], (0, 0, half, 0)), i)
    first = couplings - 1
    base = _entered(speech, passage, codes, speaker)
    terms[first] = _turned(F.pad((outs[first] - base.flip(1))[:, half:], (0, 0, half, 0)), first)
    shifts = [terms[i] for i in range(couplings)]
    exchanged = [last - outs[0]] if generator.config.retrieval else []
    return [_turned(base.flip(1), first), *shifts, *exchanged]


def _turned(x: Tensor, flips: int) -> Tensor:
    """What the flips of the couplings still to come make of x."""
    return x.flip(1) if flips % 2 else x


def _entered(speech: Spoken, passage: Passage, codes: Tensor, speaker: Tensor) -> Tensor:
    """The prior's sample, before the flow [1, Z, T]."""
    from ..sites import record

    generator = replay.variational(speech.models)
    with record(generator, ["prior.mean", "prior.log_std"]) as seen:
        stages.latents(speech, passage, codes, stages.Cast.one(speaker))
    mean, log_std = seen["prior.mean"][0], seen["prior.log_std"][0]
    width, frames = mean.shape[1:]
    noise = replay.passage_noise(speech, passage)[:, :width, :frames]
    return mean + noise * log_std.exp() * generator.config.noise_scale
