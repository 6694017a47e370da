"""What the prior remembers of the reference: how this voice said each sound, frame by frame.

A speaker vector says who speaks; it cannot say how an unseen voice says every sound. So the frames of the
reference are kept as well: its tokens' code vectors [B, C, R] and its latents [B, Z, R]. A frame that is
to be spoken looks for frames of the reference that said the like (`match`: one map for both sides, so
that likeness of sound is what draws attention), and takes from there how the latents differ from what
anybody's would be (the prior's linear path without a speaker). Frame-level references for unseen voices:
Choi et al. 2020 (Attentron, arXiv 2005.08484); retrieval of a reference's frames: Baas et al. 2023
(kNN-VC, arXiv 2305.18975). One row of zeros stands for "nothing of the kind was heard".
Sites: attn.* (queries: frames to speak, keys: frames of the reference, the empty row first), read [B, M, T].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import PriorConfig
from voxray.models.attention import Attention
from voxray.models.layers import Pointwise
from voxray.sites import Site


@dataclass(frozen=True)
class Memory:
    """Reference frames: tokens [B, S], latents [B, Z, 2S]; of row b only the first `lengths[b]` tokens count
    (None: all). `correction` [B, Z, F + 2]: how the voice differs from what the prior says of it (`calibration.py`).
    """

    tokens: Tensor
    latents: Tensor
    lengths: Tensor | None = None
    correction: Tensor | None = None

    @property
    def frames(self) -> int:
        """Reference frames, padding included."""
        return self.latents.shape[2]

    def first(self, tokens: int) -> Memory:
        """No more than so many tokens of it."""
        if tokens >= self.tokens.shape[1]:
            return self
        lengths = None if self.lengths is None else self.lengths.clamp_max(tokens)
        return Memory(
            self.tokens[:, :tokens], self.latents[..., : 2 * tokens], lengths, self.correction
        )

    def plain(self) -> Memory:
        """A copy that gradients may pass by: none of its tensors is one of inference mode."""
        with torch.inference_mode(False):
            correction = None if self.correction is None else self.correction.clone()
            return replace(
                self,
                tokens=self.tokens.clone(),
                latents=self.latents.clone(),
                correction=correction,
            )


class MemoryReader(nn.Module):
    """Frames to speak look up the reference's frames."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        width, latents = config.memory_width, config.latent_channels
        self.match = Pointwise(3 * config.input_channels, width, bias=False)
        self.ask = Pointwise(config.hidden, width)
        self.attn = Attention(width, config.memory_heads, source_width=width + latents)
        self.joint_out = Pointwise(width, config.hidden)
        self.mean_out = Pointwise(width, latents, bias=False)
        for part in (self.ask, self.joint_out, self.mean_out):
            for weight in part.parameters():
                nn.init.zeros_(weight)
        self.read = Site()  # [B, M, T]

    @torch.no_grad()
    def start_from(self, axes: Tensor, sharpness: float) -> None:
        """Begin as a search for like sounds: `axes` [A, 3 C] project the code vectors around a frame so that
        their products tell likeness; every head looks along all of them and takes its share of the latents.
        """
        attn, heads, width = self.attn, self.attn.heads, self.attn.out.in_features
        depth, latents = width // heads, self.mean_out.out_features
        if len(axes) > depth or heads * depth < latents:
            raise ValueError(f"{len(axes)} axes and {latents} latents for {heads} heads of {depth}")
        self.match.weight.zero_()
        self.match.weight[: len(axes)] = axes
        one = torch.zeros(depth, width)
        one[:, :depth] = torch.eye(depth) * (sharpness / attn.scale) ** 0.5
        attn.query.weight.copy_(one.repeat(heads, 1))
        attn.key.weight.zero_()
        attn.key.weight[:, :width] = one.repeat(heads, 1)
        attn.value.weight.zero_()
        attn.value.weight[:latents, width:] = torch.eye(latents)
        attn.out.weight.copy_(torch.eye(width))
        for part in (attn.query, attn.key, attn.value, attn.out):
            part.bias.zero_()
        self.mean_out.weight.copy_(torch.eye(latents, width))

    def forward(
        self, features: Tensor, joint: Tensor, heard: Tensor, unlike: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Code vectors [B, C, T] and hidden [B, D, T] of the frames to speak; code vectors [B, C, R] of the
        reference, how its latents differ from anybody's [B, Z, R], mask [B, R] (None: all count)
        -> what is added to the hidden [B, D, T] and to the mean [B, Z, T].
        """
        query = self.match(neighbours(features)) + self.ask(joint)  # [B, M, T]
        source = torch.cat([self.match(neighbours(heard)), unlike], dim=1).transpose(1, 2)
        source = F.pad(source, (0, 0, 1, 0))  # [B, 1 + R, M + Z]
        if mask is not None:
            mask = F.pad(mask, (1, 0), value=True)[:, None, None]  # [B, 1, 1, 1 + R]
        found = self.attn(query.transpose(1, 2), source, mask=mask)
        found = self.read(found.transpose(1, 2))  # [B, M, T]
        return self.joint_out(found), self.mean_out(found)


def neighbours(features: Tensor) -> Tensor:
    """Code vectors [B, C, T], each twice, beside those of the tokens before and after: [B, 3 C, T]."""
    frames = features.shape[2]
    padded = F.pad(features, (2, 2))
    return torch.cat([padded[:, :, at : at + frames] for at in (0, 2, 4)], dim=1)
