"""Matrices in 8 bits, one scale a row: half the size of fp16, for weights at rest (`checkpoint.py` stores them).

`to_8_bits(w)`: w [R, ...] -> q int8 [R, ...] and scale float32 [R, 1], rows being w flattened behind its first
dimension: scale = max|row| / 127 (1 where that is 0), q = round(row / scale). `from_8_bits`: q * scale, rounded to
fp16 and back. What was rounded once stays, bit for bit: the scale of a row that came out of 8 bits is found again.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 127
STEPS = 6  # float32 neighbours of a row's scale that are tried


def to_8_bits(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [R, ...] -> int8 of the same shape, scale [R, 1]; ValueError beyond the range of fp16."""
    rows = weights.detach().float().flatten(1)  # [R, N]
    if bool((rows.abs() > torch.finfo(torch.float16).max).any()):
        raise ValueError("exceeds the range of fp16 (65504)")
    scale = rows.abs().amax(1, keepdim=True) / MOST  # [R, 1]
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    codes = (rows / scale).round().clamp(-MOST, MOST).to(torch.int8)
    scale = _found_again(rows, codes, scale)
    return codes.view(weights.shape), scale


def from_8_bits(codes: Tensor, scale: Tensor) -> Tensor:
    """The weights, float32: such as fp16 holds."""
    return (codes.flatten(1).float() * scale).half().float().view(codes.shape)


def _found_again(rows: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """Scales [R, 1] with which rows that came out of 8 bits come out as they are; else those given.

    Rounding to fp16 moves a row's largest value and with it the scale by up to 2^-11. Each value leaves an
    interval in which its scale must have been; the scale lies where they all meet.
    """
    low, high = _meeting(rows, codes)  # [R, 1] each, float64
    middle = ((low + high) / 2).float()
    tried = [scale, middle]
    below, above = low.float(), high.float()
    for _ in range(STEPS):
        tried += [below, above]
        below = torch.nextafter(below, torch.full_like(below, torch.inf))
        above = torch.nextafter(above, torch.zeros_like(above))
    found = scale
    known = torch.zeros_like(scale, dtype=torch.bool)
    for candidate in tried:
        same = (from_8_bits(codes, candidate) == rows).all(1, keepdim=True)
        found = torch.where(same & ~known, candidate, found)
        known = known | same
        if bool(known.all()):
            break
    return found


def _meeting(rows: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Where the scale of each row can lie: lowest and highest [R, 1]; crossed where it never was in 8 bits."""
    size = rows.double().abs()
    mantissa, exponent = torch.frexp(size)
    exponent = exponent.clamp_min(-13)  # below, fp16 has steps of 2^-24
    step = torch.ldexp(torch.ones_like(size), exponent - 11)  # of fp16 at that size
    under = torch.where((mantissa == 0.5) & (exponent > -13), step / 4, step / 2)
    count = codes.double().abs()
    live = count > 0
    low = torch.where(live, (size - under) / count, 0.0).amax(1, keepdim=True)
    high = torch.where(live, (size + step / 2) / count, torch.inf).amin(1, keepdim=True)
    none = ~live.any(1, keepdim=True)
    return low.masked_fill(none, 1.0), high.masked_fill(none, 1.0)
