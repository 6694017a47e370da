"""Which layers of the GPT carry a number: conductance of every attention and feed-forward.

In: a passage, a target (log-probability of what was spoken, or pitch or energy through expected codes), a
baseline for the phonemes. Out: `Conductances`: for each site y the sum along the way of grad f(y) . dy
(Dhamdhere et al. 2019): how much of f(x) - f(baseline) flows through it. The stream after a layer is a cut:
its conductance is the whole difference (a test says so). Single attentions and feed-forwards are no cut:
one feeds the next, so their shares overlap and need not sum to one. Correlational.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sites import record
from . import replay
from .attribution import expected_codes, reader, text_baseline, text_rows, with_rows
from .properties import Span
from .replay import Passage, Spoken

STEPS = 16


@dataclass(frozen=True)
class Conductances:
    """How much of `delta` flows through each site, in the target's unit."""

    target: str
    sites: Mapping[str, float]
    delta: float
    steps: int
    claim: str = "correlational"

    def shares(self) -> dict[str, float]:
        """Of the difference; overlapping, so they need not sum to one."""
        if abs(self.delta) < 1e-9:
            raise ValueError("baseline and speech do not differ: there is nothing to share out")
        return {name: value / self.delta for name, value in self.sites.items()}

    def by_layer(self) -> list[float]:
        """Absolute conductance of each layer's attention and feed-forward together, summing to one."""
        layers: dict[int, float] = {}
        for name, value in self.sites.items():
            number = int(name.split(".")[1])
            layers[number] = layers.get(number, 0.0) + abs(value)
        total = sum(layers.values()) or 1.0
        return [layers[number] / total for number in sorted(layers)]


def updates(speech: Spoken) -> list[str]:
    """The sites where layers write: each head mix and each feed-forward."""
    layers = range(len(speech.models.gpt.blocks))
    return [f"blocks.{i}.{part}" for i in layers for part in ("attn.z", "mlp")]


def layer_conductance(
    speech: Spoken,
    passage: Passage,
    target: str = "log_prob",
    *,
    names: Sequence[str] | None = None,
    span: Span | None = None,
    baseline: str = "pause",
    steps: int = STEPS,
) -> Conductances:
    """Conductance of sites of the GPT on the way from the baseline's phonemes to the spoken ones."""
    wanted = list(names or updates(speech))
    rows = text_rows(speech, passage)
    base = text_baseline(speech, passage, rows, baseline)
    number = _target(speech, passage, target, span or Span())
    totals = dict.fromkeys(wanted, 0.0)
    before = _values(speech, passage, base, wanted)
    first = before.number(number)
    for step in range(steps):
        middle = base + (step + 0.5) / steps * (rows - base)
        gradients = _gradients(speech, passage, middle, wanted, number)
        after = _values(speech, passage, base + (step + 1) / steps * (rows - base), wanted)
        for name, gradient in zip(wanted, gradients, strict=True):
            totals[name] += float((gradient * (after.at[name] - before.at[name])).sum())
        before = after
    return Conductances(target, totals, before.number(number) - first, steps)


@dataclass(frozen=True)
class _Values:
    """What passed some sites in one pass, and its logits [1, S, K+1]."""

    at: Mapping[str, Tensor]
    logits: Tensor

    def number(self, target: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            return float(target(self.logits))


def _run(speech: Spoken, passage: Passage, rows: Tensor, names: Sequence[str]) -> _Values:
    with record(speech.models.gpt, names) as seen:
        logits = replay.read(speech, passage, with_rows(passage, rows[None]))
    return _Values({name: seen[name][0] for name in names}, logits)


def _values(speech: Spoken, passage: Passage, rows: Tensor, names: Sequence[str]) -> _Values:
    with torch.no_grad():
        return _run(speech, passage, rows, names)


def _gradients(
    speech: Spoken,
    passage: Passage,
    rows: Tensor,
    names: Sequence[str],
    target: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    with torch.enable_grad():
        made = _run(speech, passage, rows.detach().clone().requires_grad_(), names)
        return list(torch.autograd.grad(target(made.logits).sum(), [made.at[n] for n in names]))


def _target(speech: Spoken, passage: Passage, name: str, span: Span) -> Callable[[Tensor], Tensor]:
    """Logits [1, S, K+1] -> the number [1]."""
    if name == "log_prob":
        return lambda logits: replay.token_log_probs(logits, passage).sum(1)
    read_off = reader(speech, passage, name, span)
    speaker = speech.voice.speaker[None]
    return lambda logits: read_off(expected_codes(speech, logits), speaker)
