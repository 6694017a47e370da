"""Every site with its shape and meaning: what `docs/sites.md` is made from.

In: models. Out: rows (name with {i} for numbers, how many, shape, meaning). The names come from the
models themselves; shape and meaning from `MEANINGS`, by the first pattern that matches. A site that no
pattern knows is an error, so that no place stays undescribed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from ..sites import sites

# pattern, shape, what passes there; B batch, L sequence, P phonemes, S tokens, T frames, H heads, D width
MEANINGS = (
    ("gpt.embed", "[B, L, D]", "what the first layer reads: phonemes, then tokens, with positions"),
    ("gpt.logits", "[B, rows, K+1]", "scores of the next token; the last one ends the speech"),
    ("gpt.blocks.*.mlp", "[B, L, D]", "what the feed-forward of a layer adds"),
    ("gpt.blocks.*.resid", "[B, L, D]", "the residual stream after a layer"),
    ("*.attn.q", "[B, H, Q, D/H]", "queries"),
    ("*.attn.k", "[B, H, K, D/H]", "keys, before they are cached"),
    ("*.attn.v", "[B, H, K, D/H]", "values, before they are cached"),
    ("*.attn.bias", "[B or 1, H, Q, K]", "added to the logits, the mask folded in; log(gain) here is emphasis"),
    ("*.attn.pattern", "[B, H, Q, K]", "attention after the softmax; watching it writes the softmax out"),
    ("*.attn.z", "[B, Q, H, D/H]", "each head's output; gain or ablation of a head acts here"),
    ("*.prior.text", "[B, D, P]", "the prior's own reading of the phonemes"),
    ("*.prior.content", "[B, D, T]", "the codes after the content encoder, before the text is read"),
    ("*.prior.joint", "[B, D, T]", "after the text is read, before the joint encoder"),
    ("*.prior.memory.read", "[B, M, T]", "what was found in the reference's frames (queries: frames, keys: nothing, then the reference's)"),
    ("*.prior.mean", "[B, Z, T]", "mean of the latents"),
    ("*.prior.log_std", "[B, Z, T]", "log of their spread"),
    ("*.heard_codes", "[B, C, R]", "code vectors of the reference's frames, before look-up and retrieval"),
    ("*.heard_latents", "[B, Z, R]", "latents of the reference's frames, before look-up and retrieval"),
    ("*.correction", "[B, Z, F + 2]", "how the voice differs from what the prior says of it"),
    ("*.retrieved", "[B, Z, T]", "latents whose fine part is the reference's"),
    ("*.codes", "[B, 2S, C]", "code vectors of the tokens, two frames each"),
    ("*.speaker.vector", "[B, G, 1]", "who speaks, from the reference"),
    ("*.fusion.out", "[B, G, 1]", "the speaker vector joined with the verification embedding"),
    ("*.flow.couplings.*.out", "[B, Z, T]", "latents after a coupling, in running order"),
    ("*.decoder.latents", "[B, Z, T]", "what the decoder reads"),
    ("*.decoder.f0", "[B, 2T]", "F0 in Hz, 0 where unvoiced: the height of the voice as a number"),
    ("*.decoder.stages.*", "[B, T', D] or [B, C, T']", "after a stage of the decoder"),
    ("*.vocoder.stages.*", "[B, C, T']", "after a stage of the vocoder"),
    ("*.bridge.out", "[B, W, T']", "condition of the flow matching, at the mel's rate"),
    ("*.cfm.velocity", "[B, T, M]", "velocity of the mel at one step"),
    ("*.dit.blocks.*.mlp", "[B, T, D]", "what a layer's feed-forward adds"),
    ("*.dit.blocks.*.resid", "[B, T, D]", "the residual stream after a layer"),
    ("*.posterior.units", "[B, U, T']", "label-free units, after their quantiser"),
    ("*.posterior.mean", "[B, Z, T]", "mean of the latents of a recording (training)"),
    ("*.posterior.log_std", "[B, Z, T]", "log of their spread (training)"),
    ("content.blocks.*.resid", "[B, T, D]", "a recording's content after a layer, 50 a second"),
    ("content.features", "[B, T, D]", "content features, 50 a second"),
    ("quantiser.z_e", "[B, S, C]", "content before it becomes a token, 25 a second"),
    ("quantiser.z_q", "[B, S, C]", "the code vector chosen for it"),
)  # fmt: skip
NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class Place:
    """A site, or several alike that differ in a number."""

    name: str
    count: int
    shape: str
    meaning: str


def catalogue(parts: Mapping[str, nn.Module]) -> list[Place]:
    """Every site of some models, alike ones together, in the order of the model."""
    counts: dict[str, int] = {}
    for name in sites(parts):
        general = NUMBER.sub("{i}", name)
        counts[general] = counts.get(general, 0) + 1
    return [Place(name, count, *described(name)) for name, count in counts.items()]


def described(name: str) -> tuple[str, str]:
    """Shape and meaning of a site; one that nobody described is an error."""
    for pattern, shape, meaning in MEANINGS:
        if fnmatch.fnmatch(name, pattern):
            return shape, meaning
    raise ValueError(f"the site {name!r} has no description: add it to MEANINGS")


def table(places: Iterable[Place]) -> str:
    """Markdown."""
    rows = [f"| `{p.name}` | {p.count} | `{p.shape}` | {p.meaning} |" for p in places]
    return "\n".join(["| site | how many | shape | what passes |", "|---|---|---|---|", *rows])
