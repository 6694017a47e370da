"""Convolutions for speaking only: with the channels of a frame side by side in memory, in bf16 or float32.

Processors want the channels of one frame beside each other; `nn.Conv1d` puts every input into the other
order first, which for bf16 takes longer than the product. `pack_convs(model, kind)` replaces convolutions
in place by the same ones over frames [B, C, 1, T] that stay in that order from layer to layer. In and out:
[B, C, T] of that kind. `best_kind()` is bf16 where the processor multiplies it, float32 where bf16 would
be imitated, which takes ten times as long. What is packed does not train.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.models.packed import parents

Conv = nn.Conv1d | nn.ConvTranspose1d
INSTRUCTIONS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # of torch.cpu


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for products of bf16 (x86 with AMX or AVX512-BF16)."""
    asked = (getattr(torch.cpu, name, None) for name in INSTRUCTIONS)
    return any(ask is not None and ask() for ask in asked)


def best_kind() -> torch.dtype:
    """In what convolutions are fastest here."""
    return torch.bfloat16 if multiplies_bf16() else torch.float32


class PackedConv(nn.Module):
    """One convolution, transposed or not."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: Conv, kind: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        weight = conv.weight.detach().to(kind)[:, :, None]
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        bias = None if conv.bias is None else conv.bias.detach().to(kind)
        self.register_buffer("bias", bias)
        self.transposed = isinstance(conv, nn.ConvTranspose1d)
        self.stride = (1, conv.stride[0])
        self.padding = (0, cast(int, conv.padding[0]))
        self.dilation = (1, conv.dilation[0])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T']."""
        frames = x[:, :, None].contiguous(memory_format=torch.channels_last)  # [B, C, 1, T]
        given = (frames, self.weight, self.bias, self.stride, self.padding)
        if self.transposed:
            return F.conv_transpose2d(*given, dilation=self.dilation)[:, :, 0]
        return F.conv2d(*given, dilation=self.dilation)[:, :, 0]


def pack_convs(model: nn.Module, kind: torch.dtype = torch.bfloat16) -> int:
    """Replace the plain convolutions of a model, in place; how many there were."""
    count = 0
    for parent in parents(model):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.Conv1d, nn.ConvTranspose1d)) and _is_plain(child):
                setattr(parent, name, PackedConv(child, kind))
                count += 1
    return count


def _is_plain(conv: Conv) -> bool:
    """No groups, zeros outside, nothing odd at the end."""
    odd = any(conv.output_padding) or isinstance(conv.padding, str)
    return conv.groups == 1 and conv.padding_mode == "zeros" and not odd
