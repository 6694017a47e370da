"""Small parts that several models share. Layout [B, C, T] unless said otherwise.

`Pointwise` is a convolution of kernel size 1 as one matrix product; `length_mask` turns lengths
[B] into 1/0 masks [B, 1, T]; `WaveNet` is the gated convolution stack of WaveGlow / VITS;
`fuse_weight_norm` bakes weight normalisation into plain weights, for inference.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm


class Pointwise(nn.Linear):
    """A linear map of the channels of [B, C, T]; published 1x1 weights fit after squeezing."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.matmul(self.weight, x)  # [O, C] x [B, C, T] -> [B, O, T]
        return y if self.bias is None else y + self.bias[:, None]


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Lengths [B] -> float mask [B, 1, size], 1 on valid frames."""
    frames = torch.arange(size, device=lengths.device)
    return (frames[None, :] < lengths[:, None]).float()[:, None]


def same_padding(kernel: int, dilation: int = 1) -> int:
    """Padding that keeps the length for an odd kernel."""
    return (kernel * dilation - dilation) // 2


def fuse_weight_norm(model: nn.Module) -> nn.Module:
    """Replace every weight-normed weight by its value, in place: faster, no longer trainable so."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return model


class WaveNet(nn.Module):
    """Stack of gated, dilated convolutions with skip sum, conditioned on a vector [B, G, 1]."""

    def __init__(
        self, width: int, kernel: int, layers: int, condition: int = 0, dilation: int = 1
    ) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.convs = nn.ModuleList()
        self.mixes = nn.ModuleList()
        for i in range(layers):
            step = dilation**i
            padding = same_padding(kernel, step)
            conv = nn.Conv1d(width, 2 * width, kernel, dilation=step, padding=padding)
            self.convs.append(weight_norm(conv))
            mixed = 2 * width if i < layers - 1 else width  # the last layer only feeds the skip sum
            self.mixes.append(weight_norm(Pointwise(width, mixed)))
        self.condition = (
            weight_norm(Pointwise(condition, 2 * width * layers)) if condition else None
        )

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """x [B, C, T], mask [B, 1, T], condition [B, G, 1] -> [B, C, T]."""
        shifts = self._shifts(condition)
        total = torch.zeros_like(x)
        for i, (conv, mix) in enumerate(zip(self.convs, self.mixes, strict=True)):
            gates = conv(x) if shifts is None else conv(x) + shifts[i]  # [B, 2C, T]
            signal, gate = gates.chunk(2, dim=1)
            mixed = mix(signal.tanh() * gate.sigmoid())
            if i < self.layers - 1:
                x = (x + mixed[:, : self.width]) * mask
            total = total + mixed[:, -self.width :]
        return total * mask

    def _shifts(self, condition: Tensor | None) -> tuple[Tensor, ...] | None:
        if self.condition is None or condition is None:
            return None
        return self.condition(condition).chunk(self.layers, dim=1)  # n x [B, 2C, 1]
