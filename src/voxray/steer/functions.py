"""The functions that edits come down to: pure, tensor in, tensor out.

At the GPT's sites they also see the `Moment`, and `Rows` says which rows of a pass they concern (None:
all). At the generator's sites a mask [S] over the tokens of a run says which frames they concern; frames
are matched to tokens by proportion, whatever the site's frame rate. Head outputs are [B, Q, H, D/H], GPT
vectors [B, Q, D], generator vectors [B, C, T].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sites import Moment, timed

if TYPE_CHECKING:
    from .edits import Concept, HeadGain

Rows = Callable[[Moment], "list[int] | None"]
Timed = Callable[[Tensor, Moment], Tensor]
Plain = Callable[[Tensor], Tensor]
FRAMES_FIRST = ("stages", "codes")  # sites of the generator that are [B, T, C]


def chained(functions: Sequence[Timed]) -> Timed:
    """One timed edit out of several, first to last."""

    def edit(x: Tensor, moment: Moment) -> Tensor:
        for function in functions:
            x = function(x, moment)
        return x

    return timed(edit)


def composed(functions: Sequence[Plain]) -> Plain:
    """One edit out of several, first to last."""

    def edit(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return edit


def head_gain(head: int, gain: float, mean: Sequence[float] | None, rows: Rows) -> Timed:
    """Scale a head's output [B, Q, H, D/H] in some rows, from zero or from its mean."""
    middle = None if mean is None else torch.tensor(mean)

    def edit(z: Tensor, moment: Moment) -> Tensor:
        chosen = rows(moment)
        if chosen == []:
            return z
        z = z.clone()
        place = slice(None) if chosen is None else chosen
        z[:, place, head] = scaled(z[:, place, head], gain, middle)
        return z

    return edit


def scaled(x: Tensor, gain: float, middle: Tensor | None) -> Tensor:
    """gain * x, or the same around a middle."""
    if middle is None:
        return gain * x
    middle = middle.to(x)
    return middle + gain * (x - middle)


def column_bias(heads: Sequence[int], count: int, columns: Sequence[int], weight: float) -> Timed:
    """Add to the logits [B, H, Q, K] of some heads at some columns, in audio rows."""
    chosen = torch.zeros(count, 1, 1)
    chosen[list(heads)] = weight
    places = list(columns)

    def edit(bias: Tensor, moment: Moment) -> Tensor:
        held = bias.new_zeros(bias.shape[3])
        held[places] = 1.0
        more = chosen.to(bias) * held  # [H, 1, K]
        if moment.positions.start < moment.text:  # a prefill: text rows stay as they are
            audio = torch.arange(bias.shape[2]) >= moment.text - moment.positions.start
            more = more * audio[:, None].to(bias)
        return bias + more

    return edit


def column_bias_frames(columns: Sequence[int], weight: float) -> Plain:
    """Add to the logits [B, H, T, P] of the prior's cross-attention at some phonemes."""
    places = list(columns)

    def edit(bias: Tensor) -> Tensor:
        more = bias.new_zeros(bias.shape[3])
        more[places] = weight
        return bias + more

    return edit


def frames(mask: Tensor | None, count: int, like: Tensor) -> Tensor | None:
    """A mask over tokens [S] spread over `count` frames."""
    if mask is None:
        return None
    place = (torch.arange(count) * len(mask) // count).clamp_max(len(mask) - 1)
    return mask[place].to(like)


def octaves(ratio: float, mask: Tensor | None) -> Plain:
    """Raise F0 [B, T] by octaves, with slopes of 20 ms at the edges of a word."""

    def edit(f0: Tensor) -> Tensor:
        held = frames(mask, f0.shape[1], f0)
        if held is None:
            return f0 * 2.0**ratio
        smooth = F.avg_pool1d(F.pad(held[None, None], (2, 2), mode="replicate"), 5, 1)[0]
        return f0 * 2.0 ** (ratio * smooth)

    return edit


def head_gain_frames(edit: HeadGain, mask: Tensor | None) -> Plain:
    """Scale a head of the generator, [B, Q, H, D/H]; Q may be frames or phonemes."""
    middle = None if edit.mean is None else torch.tensor(edit.mean)

    def function(z: Tensor) -> Tensor:
        z = z.clone()
        changed = scaled(z[:, :, edit.head], edit.gain, middle)
        held = frames(mask, z.shape[1], z)
        share = 1.0 if held is None else held[:, None]
        z[:, :, edit.head] = z[:, :, edit.head] * (1 - share) + changed * share
        return z

    return function


def added(x: Tensor, shift: Tensor, *, keep_norm: bool) -> Tensor:
    """x + shift along the last axis, at x's own length if wanted."""
    moved_x = x + shift
    if not keep_norm:
        return moved_x
    before = x.norm(dim=-1, keepdim=True)
    return moved_x * (before / moved_x.norm(dim=-1, keepdim=True).clamp_min(1e-8))


def moved(x: Tensor, edit: Concept) -> Tensor:
    """A vector (or vectors, last axis) moved along a concept's direction."""
    shift = edit.amount * torch.tensor(edit.direction).to(x)
    if shift.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"the direction {edit.name!r} has {shift.shape[-1]} numbers, "
            f"{edit.site} has {x.shape[-1]}: it was learnt elsewhere"
        )
    return added(x, shift, keep_norm=edit.keep_norm)


def direction_rows(edit: Concept, rows: Rows) -> Timed:
    """Add a direction to GPT vectors [B, Q, D], or to heads [B, Q, H, D/H]."""

    def function(x: Tensor, moment: Moment) -> Tensor:
        chosen = rows(moment)
        if chosen == []:
            return x
        place = slice(None) if chosen is None else chosen
        x = x.clone()
        if x.dim() == 4 and edit.head is not None:
            x[:, place, edit.head] = moved(x[:, place, edit.head], edit)
        elif x.dim() == 4:
            flat = moved(x[:, place].flatten(2), edit)
            x[:, place] = flat.unflatten(2, x.shape[2:])
        else:
            x[:, place] = moved(x[:, place], edit)
        return x

    return function


def direction_frames(edit: Concept, mask: Tensor | None) -> Plain:
    """Add a direction to generator vectors [B, C, T] (or [B, T, C], or heads)."""
    name = edit.site.rsplit(".", 1)
    frames_first = name[-1] in FRAMES_FIRST or name[0].endswith("stages")

    def function(x: Tensor) -> Tensor:
        rows = x if frames_first or x.dim() == 4 else x.transpose(1, 2)  # [B, T, C]
        if x.dim() == 4 and edit.head is not None:
            changed = rows.clone()
            changed[:, :, edit.head] = moved(rows[:, :, edit.head], edit)
        elif x.dim() == 4:
            changed = moved(rows.flatten(2), edit).unflatten(2, rows.shape[2:])
        else:
            changed = moved(rows, edit)
        held = frames(mask, rows.shape[1], rows)
        if held is not None:
            share = held.reshape(1, -1, *[1] * (rows.dim() - 2))
            changed = rows + (changed - rows) * share
        return changed if frames_first or x.dim() == 4 else changed.transpose(1, 2)

    return function
