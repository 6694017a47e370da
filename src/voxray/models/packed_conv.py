"""Convolutions for speaking only: in bf16, with the channels of a frame side by side in memory.

Processors multiply bf16 in tiles, and want the channels of one frame beside each other; `nn.Conv1d` puts
every input into the other order first, which takes longer than the product. `pack_convs(model)` replaces
convolutions in place by the same ones over frames [B, C, 1, T] that stay in that order from layer to
layer. In and out: [B, C, T], bf16. What is packed does not train.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Conv = nn.Conv1d | nn.ConvTranspose1d


class PackedConv(nn.Module):
    """One convolution, transposed or not."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        weight = conv.weight.detach().to(torch.bfloat16)[:, :, None]
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        bias = None if conv.bias is None else conv.bias.detach().to(torch.bfloat16)
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


def pack_convs(model: nn.Module) -> int:
    """Replace the plain convolutions of a model, in place; how many there were."""
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.Conv1d, nn.ConvTranspose1d)) and _is_plain(child):
                setattr(parent, name, PackedConv(child))
                count += 1
    return count


def _is_plain(conv: Conv) -> bool:
    """No groups, zeros outside, nothing odd at the end."""
    odd = any(conv.output_padding) or isinstance(conv.padding, str)
    return conv.groups == 1 and conv.padding_mode == "zeros" and not odd
