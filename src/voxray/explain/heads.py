"""What each attention head does, and what it is worth.

In: a trace. Out: a `HeadTable` of arrays [L, H]: mass on text, on the last tokens and on older speech;
`score`, the mass within one phoneme of the best path that never goes back (after the OAS of Wang et al.
2025, arXiv 2509.19852), its `coverage` of the phonemes, the `spread` over the text; the class (global,
alignment, mixed, speech: the four of the same paper); and `effect`: what mean-ablating the head costs, in
nats a spoken token. Attention alone is correlational; `effect` is the intervention behind the picture.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..joining import monotone_path
from ..sites import record
from . import replay
from .replay import Passage, Spoken
from .tracing import PassageTrace, Trace

ALIGNS, COVERS = 0.25, 0.5  # least mass on the path, least share of phonemes on it
SPEAKS = 0.75  # mass on speech of a speech head
READS, SPREADS = 0.25, 0.8  # mass on text, and its spread, of a global head
FILE = "alignment_heads.json"
PARTWAY = (0.0, 0.25, 0.5)  # of the way to the means: where `guesses` takes gradients
BATCH_POSITIONS = 6000  # of one ablation pass: bounds its memory

Head = tuple[int, int]
Table = NDArray[np.float64]  # [L, H]


@dataclass(frozen=True)
class HeadTable:
    """Figures of every head, [L, H] each, averaged over the tokens of a trace."""

    text: Table
    recent: Table
    earlier: Table
    score: Table
    coverage: Table
    spread: Table
    effect: Table | None = None  # nats per token; None: not measured, the table is correlational

    @property
    def claim(self) -> str:
        """What stands behind the table."""
        return "correlational" if self.effect is None else "mean ablation, teacher-forced"

    def kind(self, layer: int, head: int) -> str:
        """The class of a head: alignment, speech, global or mixed."""
        at = layer, head
        if self.score[at] >= ALIGNS and self.coverage[at] >= COVERS:
            return "alignment"
        if self.recent[at] + self.earlier[at] >= SPEAKS:
            return "speech"
        if self.text[at] >= READS and self.spread[at] >= SPREADS:
            return "global"
        return "mixed"

    def of_kind(self, kind: str) -> list[Head]:
        """All heads of a class, the best aligned first."""
        found = [at for at in np.ndindex(*self.text.shape) if self.kind(*at) == kind]
        return sorted(found, key=lambda at: -self.score[at] * self.coverage[at])  # type: ignore[return-value]

    def rows(self) -> list[dict[str, object]]:
        """One dict a head: for CSV and JSON."""
        made: list[dict[str, object]] = []
        for layer, head in np.ndindex(*self.text.shape):
            row: dict[str, object] = {"layer": layer, "head": head, "kind": self.kind(layer, head)}
            for name in ("text", "recent", "earlier", "score", "coverage", "spread", "effect"):
                table = getattr(self, name)
                row[name] = None if table is None else round(float(table[layer, head]), 5)
            made.append(row)
        return made


def describe(trace: Trace, *, ablate: bool = False) -> HeadTable:
    """The table of a trace's heads; with `ablate`, each head's effect as well (one run a head)."""
    parts = [_figures(part) for part in trace.passages]
    weights = np.asarray([len(part.passage.tokens) for part in trace.passages], np.float64)
    mean = {
        name: np.average([part[name] for part in parts], axis=0, weights=weights)
        for name in parts[0]
    }
    return HeadTable(**mean, effect=effects(trace) if ablate else None)


def _figures(part: PassageTrace) -> dict[str, Table]:
    weights = part.attention.astype(np.float64)  # [L, H, S, P]
    mass = weights.sum(3)
    inside = weights / np.maximum(mass[..., None], 1e-9)
    entropy = -(inside * np.log(np.maximum(inside, 1e-12))).sum(3) / np.log(
        max(weights.shape[3], 2)
    )
    score, coverage = np.zeros(mass.shape[:2]), np.zeros(mass.shape[:2])
    for at in np.ndindex(*mass.shape[:2]):
        score[at], coverage[at] = on_path(weights[at])
    return {
        "text": mass.mean(2),
        "recent": part.recent.astype(np.float64).mean(2),
        "earlier": part.earlier.astype(np.float64).mean(2),
        "score": score,
        "coverage": coverage,
        "spread": entropy.mean(2),
    }


def on_path(weights: NDArray[np.floating]) -> tuple[float, float]:
    """Mass of attention [S, P] within one phoneme of its best monotone path; phonemes on the path."""
    path = monotone_path(weights)
    apart = np.abs(np.arange(weights.shape[1])[None] - path[:, None])
    mass = float((weights * (apart <= 1)).sum(1).mean())
    return mass, len(np.unique(path)) / weights.shape[1]


def alignment_heads(trace: Trace, *, most: int = 4) -> list[Head]:
    """The heads to read times from: those trained to align, else found in this very trace.

    Heads kept beside a model's weights (`load_heads`) are for the caller to hand to `align`.
    """
    guided = trace.models.gpt.config.guided_heads
    if guided:
        return [(layer, head) for layer, head in guided]
    return find_alignment_heads([trace], most=most)


def find_alignment_heads(traces: Sequence[Trace], *, most: int = 4) -> list[Head]:
    """The best aligned heads over some traces: of the class `alignment`, at least the best one."""
    if not traces:
        raise ValueError("no traces to find alignment heads in")
    tables = [describe(trace) for trace in traces]
    score = np.mean([table.score for table in tables], axis=0)  # [L, H]
    coverage = np.mean([table.coverage for table in tables], axis=0)
    order = sorted(np.ndindex(*score.shape), key=lambda at: -score[at] * coverage[at])
    good = [at for at in order if score[at] >= ALIGNS and coverage[at] >= COVERS]
    return (good or order[:1])[:most]  # type: ignore[return-value]


def save_heads(heads: Iterable[Head], folder: Path) -> None:
    """Keep a model's alignment heads beside its weights."""
    target = folder / FILE
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_text(json.dumps({"alignment_heads": [list(at) for at in heads]}) + "\n", "utf-8")
        os.replace(part, target)
    except OSError as error:
        raise OSError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def load_heads(folder: Path) -> list[Head]:
    """The alignment heads kept beside a model's weights; none, if none were kept."""
    try:
        held = json.loads((folder / FILE).read_text("utf-8"))["alignment_heads"]
        return [(int(layer), int(head)) for layer, head in held]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / FILE} holds no list of (layer, head)") from error


@torch.inference_mode()
def effects(trace: Trace) -> Table:
    """What mean-ablating each head costs [L, H]: nats a token that the spoken tokens lose.

    The head's output is set to its mean over the text rows, and over the speech rows, of the same
    passage: on average the model hears what it always hears, but no longer when.
    """
    layers, count = len(trace.models.gpt.blocks), trace.models.gpt.config.n_head
    every = [(layer, head) for layer in range(layers) for head in range(count)]
    lost, tokens = np.zeros(len(every)), 0
    for part in trace.passages:
        passage = part.passage
        clean = replay.token_log_probs(replay.read(trace.spoken, passage), passage)[0].sum()
        size = max(1, BATCH_POSITIONS // (passage.text + len(passage.tokens)))
        for begin in range(0, len(every), size):
            group = every[begin : begin + size]
            kept = _without(trace.spoken, passage, group)
            lost[begin : begin + size] += (clean - kept).numpy()
        tokens += len(passage.tokens)
    return (lost / tokens).reshape(layers, count)


def guesses(trace: Trace) -> Table:
    """What `effects` would say, guessed from a few forward and backward passes for all heads at once [L, H].

    Attribution patching: the gradient of the log-probability of what was spoken at each head's output, times
    the way from there to its mean, with the sign turned: nats a token lost, to first order. One gradient at
    the clean run misleads (a sure model is flat), so it is averaged over points where all heads have gone
    a part of that way.
    """
    layers, count = len(trace.models.gpt.blocks), trace.models.gpt.config.n_head
    total, tokens = np.zeros((layers, count)), 0
    for part in trace.passages:
        passage = part.passage
        with torch.no_grad(), record(trace.models.gpt, "blocks.*.attn.z") as seen:
            replay.read(trace.spoken, passage)
        clean = [seen[f"blocks.{layer}.attn.z"][0] for layer in range(layers)]
        means = [_means(z, passage.text) for z in clean]
        for share in PARTWAY:
            slopes = _slopes(trace.spoken, passage, means, share)
            for layer, slope in enumerate(slopes):
                moved = (slope * (means[layer] - clean[layer]))[0].sum((0, 2))  # [H]
                total[layer] -= moved.double().numpy() / len(PARTWAY)
        tokens += len(passage.tokens)
    return total / tokens


def _means(z: Tensor, text: int) -> Tensor:
    """Head outputs [1, L, H, D/H], each at its mean over the text rows or over the speech rows."""
    sides = (z[:, :text], z[:, text:])
    return torch.cat([side.mean(1, keepdim=True).expand_as(side) for side in sides], dim=1)


def _slopes(
    speech: Spoken, passage: Passage, means: Sequence[Tensor], share: float
) -> tuple[Tensor, ...]:
    """Gradients at the heads' outputs where all of them have gone a share of the way to their means."""
    held: list[Tensor] = []

    def toward(mean: Tensor) -> Callable[[Tensor], Tensor]:
        def edit(z: Tensor) -> Tensor:
            moved = z + share * (mean - z)
            held.append(moved if moved.requires_grad else moved.detach().requires_grad_())
            return held[-1]

        return edit

    edits = {f"blocks.{layer}.attn.z": toward(mean) for layer, mean in enumerate(means)}
    with torch.enable_grad():
        logits = replay.read(speech, passage, edits)
        return torch.autograd.grad(replay.token_log_probs(logits, passage).sum(), held)


def _without(speech: Spoken, passage: Passage, heads: Sequence[Head]) -> Tensor:
    """Log-probability [B] of what was said, with the b-th head mean-ablated in the b-th run."""
    edits: dict[str, Callable[[Tensor], Tensor]] = {}
    for layer in sorted({layer for layer, _ in heads}):
        members = [(run, head) for run, (at, head) in enumerate(heads) if at == layer]
        edits[f"blocks.{layer}.attn.z"] = _mean_ablation(members, passage.text)
    logits = replay.read(speech, passage, edits, batch=len(heads))
    return replay.token_log_probs(logits, passage).sum(1)


def _mean_ablation(members: Sequence[tuple[int, int]], text: int) -> Callable[[Tensor], Tensor]:
    def edit(z: Tensor) -> Tensor:  # [B, L, H, D/H]
        z = z.clone()
        for run, head in members:
            for side in (slice(0, text), slice(text, None)):
                z[run, side, head] = z[run, side, head].mean(0, keepdim=True)
        return z

    return edit
