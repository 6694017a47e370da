"""Residual-coupling flow (VITS). `forward`: posterior z [B, C, T] -> prior space; `inverse` runs
it backwards. Volume-preserving (the couplings only shift), so there is no log-det term.
Conditioned on the speaker vector [B, G, 1]. Sites: `couplings.{i}.out` [B, C, T], in the order of
the running direction (the inverse meets the last coupling first).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxray.config import FlowConfig
from voxray.models.layers import Pointwise, WaveNet
from voxray.sites import Site


class Coupling(nn.Module):
    """Shift the second half of the channels by a function of the first half."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.half = config.channels // 2
        self.before = Pointwise(self.half, config.hidden)
        self.net = WaveNet(config.hidden, config.kernel, config.layers, config.speaker_width)
        self.after = Pointwise(config.hidden, self.half)
        nn.init.zeros_(self.after.weight)  # starts as the identity
        nn.init.zeros_(self.after.bias)
        self.out = Site()  # [B, C, T]

    def forward(self, x: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        first, second = x[:, : self.half], x[:, self.half :]
        second = self._shift(first, mask, speaker) + second * mask
        return self.out(torch.cat([first, second], dim=1))

    def inverse(self, x: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        first, second = x[:, : self.half], x[:, self.half :]
        second = (second - self._shift(first, mask, speaker)) * mask
        return self.out(torch.cat([first, second], dim=1))

    def _shift(self, first: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        hidden = self.net(self.before(first) * mask, mask, speaker)
        return self.after(hidden) * mask


class Flow(nn.Module):
    """Couplings with the channels reversed after each."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.couplings = nn.ModuleList(Coupling(config) for _ in range(config.couplings))

    @property
    def reach(self) -> int:
        """How many frames to either side a frame depends on."""
        return self.config.couplings * self.config.layers * (self.config.kernel // 2)

    def forward(self, z: Tensor, mask: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Posterior space -> prior space; z [B, C, T], mask [B, 1, T]."""
        for coupling in self.couplings:
            z = coupling(z, mask, speaker).flip(1)
        return z

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Prior space -> what the decoder reads."""
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z.flip(1), mask, speaker)
        return z
