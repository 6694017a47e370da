"""Which phonemes, codes, speaker and couplings a number depends on: integrated gradients, with checks.

The chain is cut by sampling, so three different questions are asked (Sundararajan et al. 2017 for the
method, Gauss-Legendre nodes): (1) `text_to_tokens`: phonemes -> log-probability of the tokens that were
spoken, teacher-forced; (2) `text_to_sound`: phonemes -> pitch or energy through *expected* code vectors
(softmax @ codebook), an approximation whose `gap` to the spoken tokens is returned; (3)
`generator_to_sound`: codes and speaker vector -> pitch, energy, likeness of the waveform, tokens frozen.
Every `Attribution` carries its completeness error |sum - (f(x) - f(baseline))| / |f(x) - f(baseline)|.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.decoder_istft import IstftDecoder
from ..models.generator import GeneratorOutput
from ..sites import attach, record
from ..text.symbols import CORE, PAUSE, SYMBOL_TO_ID
from . import replay, stages
from .memory import RETRIEVED, looks_up
from .properties import UNITS, Span, measure, voiced_frames
from .replay import Passage, Spoken

STEPS = 32
BATCH = 16  # points of the path in one pass
SMALL = 1e-3  # |f(x) - f(baseline)| below which shares mean nothing
BASELINES = ("pause", "mean")

Floats = NDArray[np.floating]
Function = Callable[[Sequence[Tensor]], Tensor]  # groups [n, ...] each -> [n]


@dataclass(frozen=True)
class Attribution:
    """How much of a number each unit carries; `scores` sum to `delta` but for the error.

    units name the scores (phonemes, tokens, parts); `gap` is, for soft decoding, the number at the
    expected codes less the number at the spoken tokens; None where nothing was softened.
    """

    target: str
    unit: str
    units: tuple[str, ...]
    scores: Floats
    value: float
    baseline_value: float
    baseline: str
    steps: int
    gap: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)  # conductances by site

    @property
    def delta(self) -> float:
        """What there is to explain."""
        return self.value - self.baseline_value

    @property
    def completeness_error(self) -> float:
        """|sum of scores - delta| / |delta|; means nothing where `skipped`."""
        return abs(float(self.scores.sum()) - self.delta) / max(abs(self.delta), 1e-12)

    @property
    def skipped(self) -> bool:
        """Whether delta is too small to be shared out."""
        return abs(self.delta) < SMALL

    def to_json(self) -> dict[str, object]:
        """All of it as plain numbers."""
        return {
            "target": self.target,
            "unit": self.unit,
            "units": list(self.units),
            "scores": [round(float(score), 6) for score in self.scores],
            "value": self.value,
            "baseline_value": self.baseline_value,
            "baseline": self.baseline,
            "delta": self.delta,
            "completeness_error": self.completeness_error,
            "skipped": self.skipped,
            "gap": self.gap,
            "steps": self.steps,
            "extra": dict(self.extra),
            "claim": "correlational",  # gradients along a path; deletion tests it
        }


@dataclass(frozen=True)
class Integral:
    """Integrated gradients of some groups of inputs, and the two ends' values."""

    attributions: tuple[Tensor, ...]  # shaped like the groups
    value: float
    baseline_value: float


def integrated_gradients(
    function: Function,
    inputs: Sequence[Tensor],
    baselines: Sequence[Tensor],
    *,
    steps: int = STEPS,
    batch: int = BATCH,
) -> Integral:
    """Gradients along the straight line from baselines to inputs, Gauss-Legendre, times the way.

    `function` takes the groups with a batch axis in front and returns one number an item. All
    groups move together, so that their scores share one delta.
    """
    if len(inputs) != len(baselines) or not inputs:
        raise ValueError(f"{len(inputs)} groups of inputs and {len(baselines)} baselines")
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places, weights = (nodes + 1) / 2, weights / 2
    ways = [x.detach() - b.detach() for x, b in zip(inputs, baselines, strict=True)]
    sums = [torch.zeros_like(way) for way in ways]
    for begin in range(0, steps, batch):
        chosen = torch.from_numpy(places[begin : begin + batch]).float()
        weight = torch.from_numpy(weights[begin : begin + batch]).float()
        points = [_between(b, way, chosen) for b, way in zip(baselines, ways, strict=True)]
        with torch.enable_grad():
            points = [point.requires_grad_() for point in points]
            gradients = torch.autograd.grad(function(points).sum(), points)
        for total, gradient in zip(sums, gradients, strict=True):
            total += torch.einsum("n,n...->...", weight, gradient)
    with torch.no_grad():
        ends = [torch.stack([b, x]) for b, x in zip(baselines, inputs, strict=True)]
        low, high = function(ends).tolist()
    attributions = tuple(total * way for total, way in zip(sums, ways, strict=True))
    return Integral(attributions, high, low)


def _between(baseline: Tensor, way: Tensor, places: Tensor) -> Tensor:
    spread = places.reshape(-1, *[1] * way.dim())
    return (baseline.detach()[None] + spread * way[None]).detach().clone()


# --- (1) phonemes -> log-probability of the spoken tokens -------------------------------------


def text_rows(speech: Spoken, passage: Passage) -> Tensor:
    """What the GPT's first layer reads of the phonemes said [P, D] (site `embed`)."""
    with torch.no_grad(), record(speech.models.gpt, "embed") as seen:
        replay.read(speech, passage)
    return seen["embed"][0][0, passage.first : passage.text].clone()


def text_baseline(speech: Spoken, passage: Passage, rows: Tensor, kind: str) -> Tensor:
    """The same rows with every phoneme's identity taken out: all pauses, or the mean symbol."""
    table = speech.models.gpt.text_embedding.weight.detach()
    if kind == "pause":
        neutral = table[SYMBOL_TO_ID[PAUSE]]
    elif kind == "mean":
        neutral = table[: len(CORE)].mean(0)
    else:
        raise ValueError(f"no baseline {kind!r}; there are: {', '.join(BASELINES)}")
    return rows - table[list(passage.ids)] + neutral


def with_rows(passage: Passage, rows: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """The edit that puts rows [n, P, D] where the phonemes said are read."""

    def edit(x: Tensor) -> Tensor:  # [n, L, D]
        return torch.cat([x[:, : passage.first], rows, x[:, passage.text :]], dim=1)

    return {"embed": edit}


def log_prob_function(
    speech: Spoken, passage: Passage, tokens: slice = slice(None)
) -> Callable[[Tensor], Tensor]:
    """Rows [n, P, D] -> log-probability [n] of the spoken tokens of a slice."""

    def function(rows: Tensor) -> Tensor:
        logits = replay.read(speech, passage, with_rows(passage, rows), batch=len(rows))
        return replay.token_log_probs(logits, passage)[:, tokens].sum(1)

    return function


def text_to_tokens(
    speech: Spoken,
    passage: Passage,
    *,
    tokens: slice = slice(None),
    baseline: str = "pause",
    steps: int = STEPS,
) -> Attribution:
    """How much each phoneme adds to the log-probability (nats) of what was spoken."""
    rows = text_rows(speech, passage)
    base = text_baseline(speech, passage, rows, baseline)
    function = log_prob_function(speech, passage, tokens)
    made = integrated_gradients(lambda groups: function(groups[0]), [rows], [base], steps=steps)
    return Attribution(
        target="log-probability of the spoken tokens (nats)",
        unit="phoneme",
        units=tuple(symbols(speech, passage)),
        scores=made.attributions[0].sum(1).numpy(),
        value=made.value,
        baseline_value=made.baseline_value,
        baseline=baseline,
        steps=steps,
    )


def symbols(speech: Spoken, passage: Passage) -> list[str]:
    """The symbols of a passage's phonemes."""
    return [speech.synthesis.phonemes.items[item].symbol for item in passage.items]


# --- (2) phonemes -> sound, through expected codes --------------------------------------------


def expected_codes(speech: Spoken, logits: Tensor) -> Tensor:
    """Logits [n, S, K+1] -> expected code vectors [n, S, C], the end token left out."""
    codebook = replay.variational(speech.models).codebook
    warmth = max(speech.options.temperature, 1e-2)
    return (logits[..., : len(codebook)].float() / warmth).softmax(-1) @ codebook


@dataclass(frozen=True)
class Reader:
    """How a property is read: the sound as spoken, and what follows from code vectors."""

    speech: Spoken
    passage: Passage
    name: str
    function: Callable[[GeneratorOutput], Tensor]
    spoken_value: float
    held_f0: Tensor | None

    def __call__(self, codes: Tensor, speaker: Tensor) -> Tensor:
        """Code vectors [n, S, C] and speakers [n, G] -> the property [n]."""
        cast = stages.Cast.one(speaker)
        z = stages.latents(self.speech, self.passage, codes, cast)
        if self.from_latents:
            return self.function(GeneratorOutput(z.new_zeros(0), z, z.new_zeros(0)))
        return self.function(stages.render(self.speech, self.passage, z, speaker, self.held_f0))

    @property
    def from_latents(self) -> bool:
        """Whether the sound itself need not be made: pitch of a decoder with pitch latents."""
        decoder = replay.variational(self.speech.models).decoder
        return self.name == "pitch" and isinstance(decoder, IstftDecoder)


def reader(speech: Spoken, passage: Passage, name: str, span: Span) -> Reader:
    """Read a property off a passage. Where the decoder gates its F0, energy and likeness hold it.

    A gate is a step, and a step has no gradient: with the F0 of the run held, what is explained is
    the part of energy and likeness that does not come from the choice of voiced frames.
    """
    generator = replay.variational(speech.models)
    with torch.no_grad():
        made = replay.decode(speech, passage)
        rate = generator.config.sample_rate
        voiced = voiced_frames(made.audio[0].clamp(-1, 1), rate)
        function = measure(generator, name, span, voiced, speech.voice.speaker)
        held = made.f0 if made.f0.shape[1] else None
        return Reader(speech, passage, name, function, float(function(made)), held)


def text_to_sound(
    speech: Spoken,
    passage: Passage,
    name: str,
    *,
    span: Span | None = None,
    baseline: str = "pause",
    steps: int = STEPS,
) -> Attribution:
    """How much each phoneme, through the GPT, adds to pitch or energy: an approximation, see `gap`.

    The spoken tokens are fed back as they were; the generator reads the text as it is.
    """
    read_off = reader(speech, passage, name, span or Span())
    rows = text_rows(speech, passage)
    base = text_baseline(speech, passage, rows, baseline)
    speaker = speech.voice.speaker[None]

    def through(groups: Sequence[Tensor]) -> Tensor:
        edits = with_rows(passage, groups[0])
        logits = replay.read(speech, passage, edits, batch=len(groups[0]))
        codes = expected_codes(speech, logits)
        return read_off(codes, speaker.expand(len(codes), -1))

    made = integrated_gradients(through, [rows], [base], steps=steps, batch=4)
    return Attribution(
        target=f"{name} through expected codes ({UNITS[name]})",
        unit="phoneme",
        units=tuple(symbols(speech, passage)),
        scores=made.attributions[0].sum(1).numpy(),
        value=made.value,
        baseline_value=made.baseline_value,
        baseline=baseline,
        steps=steps,
        gap=made.value - read_off.spoken_value,
    )


# --- (3) codes and speaker -> sound, tokens frozen ---------------------------------------------


def neutral_codes(speech: Spoken, passage: Passage) -> Tensor:
    """The mean code vector, in every token's place [S, C]: says nothing, in nobody's way."""
    codebook = replay.variational(speech.models).codebook
    return codebook.mean(0).expand(len(passage.tokens), -1)


def generator_to_sound(
    speech: Spoken,
    passage: Passage,
    name: str,
    *,
    span: Span | None = None,
    neutral_speaker: Tensor | None = None,
    steps: int = STEPS,
) -> Attribution:
    """How much each token's code and the speaker vector add to pitch, energy or likeness.

    Baseline: the mean code and `neutral_speaker` [G] (zeros if not given), moved together. Units are
    the tokens, then "speaker". Which frames of the reference the fine latents come from would jump on the way: these latents go
    straight from those of one end to those of the other, and what that does counts as the codes'.
    """
    generator = replay.variational(speech.models)
    read_off = reader(speech, passage, name, span or Span())
    codes = generator.codebook[list(passage.tokens)]  # [S, C]
    speaker = speech.voice.speaker
    neutral = torch.zeros_like(speaker) if neutral_speaker is None else neutral_speaker

    base = neutral_codes(speech, passage)
    straight = _straight(speech, passage, (base, codes), (neutral, speaker))

    def through(groups: Sequence[Tensor]) -> Tensor:
        with attach(generator, straight(groups[0])):
            return read_off(groups[0], groups[1])

    made = integrated_gradients(
        through,
        [codes, speaker],
        [base, neutral],
        steps=steps,
        batch=4,
    )
    per_code, per_speaker = made.attributions
    return Attribution(
        target=f"{name} of the sound, tokens frozen ({UNITS[name]})",
        unit="token",
        units=(*[str(token) for token in passage.tokens], "speaker"),
        scores=np.append(per_code.sum(1).numpy(), float(per_speaker.sum())),
        value=made.value,
        baseline_value=made.baseline_value,
        baseline="mean code, neutral speaker",
        steps=steps,
    )


def _straight(
    speech: Spoken, passage: Passage, codes: tuple[Tensor, Tensor], speakers: tuple[Tensor, Tensor]
) -> Callable[[Tensor], dict[str, Callable[[Tensor], Tensor]]]:
    """Edits of the generator for codes [B, S, C] between two ends: retrieved latents as far on their way as the codes are."""
    kept = replay.variational(speech.models).config.retrieval
    if not kept or not looks_up(speech):
        return lambda _: {}
    one, other = (
        stages.fine_latents(speech, passage, c[None], stages.Cast.one(s[None]))
        for c, s in zip(codes, speakers, strict=True)
    )

    def edits(between: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
        at = stages.place(between, *codes)[:, None, None]
        fine = one + at * (other - one)  # [B, F, T]
        return {RETRIEVED: lambda z: torch.cat([z[:, :kept], fine], dim=1)}

    return edits


def by_word(made: Attribution, passage: Passage) -> dict[int, float]:
    """Scores of phonemes summed into words (-1: pauses)."""
    if made.unit != "phoneme":
        raise ValueError(f"only scores of phonemes have words; these are of {made.unit}s")
    totals: dict[int, float] = {}
    for word, score in zip(passage.words, made.scores, strict=True):
        totals[word] = totals.get(word, 0.0) + float(score)
    return totals
