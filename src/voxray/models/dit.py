"""Diffusion transformer: noisy mel, prompt mel and condition -> velocity of the mel. All [B, T, D].

`read`: condition [B, T, C] -> the same, read by ConvNeXt-V2 blocks; it does not depend on the step.
`forward`: x and prompt [B, T, M], read condition [B, T, C], time and step size [B] in 0..1 ->
velocity [B, T, M]. Time and step size steer every layer by scales, shifts and gates (Peebles & Xie
2023, AdaLN-zero); the layout is F5-TTS's (Chen et al. 2024), the step size is that of shortcut models
(Frans et al. 2024). Sites: blocks.{i}.attn.{q,k,v,bias,pattern,z}, blocks.{i}.mlp and
blocks.{i}.resid [B, T, D].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import DiTConfig
from voxray.models.attention import Attention, Rotary
from voxray.models.layers import same_padding
from voxray.sites import Site

EPSILON = 1e-6  # of every normalisation here


class StepEmbedding(nn.Module):
    """A number of 0..1 per item [B] -> a vector [B, D]: sinusoids of 1000 times it, two maps."""

    def __init__(self, sinusoids: int, width: int) -> None:
        super().__init__()
        self.half = sinusoids // 2
        self.widen = nn.Linear(sinusoids, width)
        self.mix = nn.Linear(width, width)

    def forward(self, value: Tensor) -> Tensor:
        steps = torch.arange(self.half, device=value.device).float()
        rate = torch.exp(steps * -(math.log(10000.0) / (self.half - 1)))
        angle = 1000.0 * value.float()[:, None] * rate  # [B, half]
        waves = torch.cat([angle.sin(), angle.cos()], dim=1).to(self.widen.weight.dtype)
        return self.mix(F.silu(self.widen(waves)))


def frame_positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Absolute positions [T, width]: all cosines, then all sines."""
    rate = 1.0 / 10000.0 ** (torch.arange(0, width, 2, device=device).float() / width)
    angle = torch.arange(frames, device=device).float()[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class ResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2): channels compete by their norm over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        norm = x.norm(dim=1, keepdim=True)  # [B, 1, F]
        share = norm / (norm.mean(dim=2, keepdim=True) + EPSILON)
        return self.gain * (x * share) + self.shift + x


class ConditionBlock(nn.Module):
    """ConvNeXt-V2 block on [B, T, C]."""

    def __init__(self, width: int, hidden: int, kernel: int) -> None:
        super().__init__()
        padding = same_padding(kernel)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=padding, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.widen = nn.Linear(width, hidden)
        self.response = ResponseNorm(hidden)
        self.narrow = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.depthwise(x.transpose(1, 2)).transpose(1, 2)  # [B, T, C]
        hidden = self.response(F.gelu(self.widen(self.norm(hidden))))  # [B, T, F]
        return x + self.narrow(hidden)


class NeighbourPositions(nn.Module):
    """Positions by looking around: two grouped convolutions, added to [B, T, D]."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        padding = same_padding(kernel)
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=padding, groups=groups) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)  # [B, D, T]
        for conv in self.convs:
            y = F.mish(conv(y))
        return x + y.transpose(1, 2)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise x [B, T, D] without learned weights, then scale and shift it by [B, 1, D]."""
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON) * (1 + scale) + shift


class DiTBlock(nn.Module):
    """Attention and feed-forward, each modulated before and gated after by the moment [B, D]."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.ffn_mult * config.width
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.attn = Attention(width, config.n_head)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.mlp, self.resid = Site(), Site()  # [B, T, D]

    def forward(self, x: Tensor, moment: Tensor, rotary: Rotary) -> Tensor:
        """x [B, T, D], moment [B, D] -> [B, T, D]."""
        parts = self.modulation(F.silu(moment))[:, None].chunk(6, dim=-1)  # 6 x [B, 1, D]
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts
        x = x + gate * self.attn(modulate(x, scale, shift), rotary=rotary)
        hidden = F.gelu(self.up(modulate(x, mlp_scale, mlp_shift)), approximate="tanh")
        return self.resid(x + mlp_gate * self.mlp(self.down(hidden)))


def zeroed(linear: nn.Linear) -> nn.Linear:
    """A map that starts at zero."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class DiT(nn.Module):
    """The velocity field of the mel."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width, condition = config.width, config.condition_width
        self.time = StepEmbedding(config.time_width, width)
        self.step = StepEmbedding(config.time_width, width)
        self.condition_blocks = nn.ModuleList(
            ConditionBlock(condition, config.condition_mult * condition, config.condition_kernel)
            for _ in range(config.condition_layers)
        )
        self.frame_in = nn.Linear(2 * config.n_mels + condition, width)
        self.positions = NeighbourPositions(width, config.position_kernel, config.position_groups)
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.n_layer))
        self.final_modulation = zeroed(nn.Linear(width, 2 * width))
        self.frame_out = zeroed(nn.Linear(width, config.n_mels))

    def read(self, condition: Tensor) -> Tensor:
        """Condition [B, T, C] -> [B, T, C], with positions and neighbours in it."""
        places = frame_positions(condition.shape[1], condition.shape[2], condition.device)
        x = condition + places.to(condition.dtype)
        for block in self.condition_blocks:
            x = block(x)
        return x

    def forward(
        self, x: Tensor, prompt: Tensor, read: Tensor, time: Tensor, step: Tensor
    ) -> Tensor:
        """Velocity [B, T, M] at x, for `read` = read(condition) and the prompt padded to T frames."""
        moment = self.time(time) + self.step(step)  # [B, D]
        x = self.positions(self.frame_in(torch.cat([x, prompt, read], dim=2)))  # [B, T, D]
        rotary = Rotary(x.shape[1], self.config.rotary_width, x.device)
        for block in self.blocks:
            x = block(x, moment, rotary)
        scale, shift = self.final_modulation(F.silu(moment))[:, None].chunk(2, dim=-1)
        return self.frame_out(modulate(x, scale, shift))
