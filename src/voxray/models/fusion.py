"""Condition fusion: bring a second condition together with the speaker vector [B, G, 1].

`VectorFusion` adds an utterance embedding [B, E] (the published Pro models add a speaker
verification embedding so). `SequenceFusion` lets the speaker scale and shift a sequence
[B, C, T] (FiLM, Perez et al. 2018), as the `article` preset does with its text features.
Site: out.
"""

from __future__ import annotations

from torch import Tensor, nn

from voxray.config import FusionConfig
from voxray.models.layers import Pointwise
from voxray.sites import Site


class VectorFusion(nn.Module):
    """PReLU(speaker + Linear(embedding)); [B, G, 1] and [B, E] -> [B, G, 1]."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.input_width, config.speaker_width)
        self.activation = nn.PReLU(config.speaker_width)
        self.out = Site()  # [B, G, 1]

    def forward(self, speaker: Tensor, embedding: Tensor) -> Tensor:
        joined = speaker + self.embed(embedding)[:, :, None]
        return self.out(self.activation(joined))


class SequenceFusion(nn.Module):
    """x * (1 + scale) + shift, both from the speaker; starts as the identity."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.modulate = Pointwise(config.speaker_width, 2 * config.input_width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        self.out = Site()  # [B, C, T]

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        """x [B, C, T], speaker [B, G, 1] -> [B, C, T]."""
        scale, shift = self.modulate(speaker).chunk(2, dim=1)  # 2 x [B, C, 1]
        return self.out(x * (1 + scale) + shift)
