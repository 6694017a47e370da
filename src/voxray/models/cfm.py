"""Conditional flow matching (Lipman et al. 2023): prior features -> condition -> mel.

`Bridge`: prior features [B, C, T] at 50 Hz and the speaker [B, G, 1] -> condition [B, W, T'] at the
mel's rate. `FlowMatching`: condition [B, W, T], prompt mel [B, M, L] and noise [B, M, T] -> mel
[B, M, T]; the condition begins with the prompt's, whose L frames come out as zeros. The mel is that of
the prompt: scaled to about -1..1. Items of a batch have equal lengths.
Sites: bridge.out [B, W, T'], velocity [B, T, M] once per step, dit.blocks.{i}.* (see `dit`); an edit
that asks for the `Moment` learns the step. With guidance these see [2B, T, D]: first the
conditioned half of the batch, then the unconditioned one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import BridgeConfig, FlowMatchingConfig
from voxray.models.dit import DiT
from voxray.models.layers import Pointwise, WaveNet, length_mask
from voxray.sites import Moment, Site, sites


class Bridge(nn.Module):
    """Widens the prior's features, repeats frames up to the mel's rate, then smooths."""

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.widen = Pointwise(config.input_channels, width)
        self.before = Pointwise(width, width)
        self.net = WaveNet(width, config.kernel, config.layers, config.speaker_width)
        self.after = Pointwise(width, width)
        self.out = Site()  # [B, W, T']

    def forward(
        self, features: Tensor, tokens: Tensor, speaker: Tensor, speed: float = 1.0
    ) -> Tensor:
        """features [B, C, T] already stretched by `speed`, semantic tokens per item [B]."""
        x = F.leaky_relu(self.widen(features))  # [B, W, T]
        x = F.interpolate(x, scale_factor=self.config.factor, mode="nearest")  # [B, W, T']
        # At other speeds this may be a frame short of T': the published models zero that frame.
        lengths = (tokens.double() * self.config.mask_factor / speed).long() + 1
        mask = length_mask(lengths.to(x.device), x.shape[2]).to(x.dtype)  # [B, 1, T']
        x = self.net(self.before(x) * mask, mask, speaker)
        return self.out(self.after(x) * mask)


@dataclass
class Conditions:
    """What the velocity depends on besides x, the same in all steps: both [B or 2B, T, ...]."""

    prompt: Tensor
    read: Tensor
    guidance: float


class FlowMatching(nn.Module):
    """Euler steps of equal size from noise (time 0) to the mel (time 1)."""

    def __init__(self, config: FlowMatchingConfig) -> None:
        super().__init__()
        self.config = config
        self.dit = DiT(config.transformer)
        self.velocity = Site()  # [B, T, M]
        self.moment = Moment()
        for site in sites(self).values():
            site.moment = self.moment

    def forward(
        self,
        condition: Tensor,
        prompt: Tensor,
        noise: Tensor,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Mel [B, M, T]; `steps` and `guidance` default to the config's."""
        steps = self.config.steps if steps is None else steps
        if steps < 1:
            raise ValueError(f"at least 1 step is needed, got {steps}")
        frames, given = noise.shape[2], prompt.shape[2]
        if condition.shape[2] != frames or given > frames:
            raise ValueError(
                f"condition of {condition.shape[2]} frames and prompt of {given} do not fit "
                f"noise of {frames}"
            )
        conditions = self.conditions(condition, prompt, guidance)
        held = (torch.arange(frames, device=noise.device) < given)[:, None]  # [T, 1]
        x = noise.transpose(1, 2).masked_fill(held, 0.0)  # [B, T, M]
        self.moment.positions = range(frames)
        for i in range(steps):
            self.moment.step = i
            x = x + self.velocity_at(x, conditions, i / steps, 1 / steps) / steps
            x = x.masked_fill(held, 0.0)
        return x.transpose(1, 2)

    def velocity_at(self, x: Tensor, conditions: Conditions, time: float, step: float) -> Tensor:
        """The guided velocity at x [B, T, M]; `time` and `step` (its size) in 0..1."""
        repeats = conditions.read.shape[0] // x.shape[0]
        x = x.repeat(repeats, 1, 1)  # [B or 2B, T, M]
        batch = x.new_ones(x.shape[0], dtype=torch.float32)
        velocity = self.dit(x, conditions.prompt, conditions.read, time * batch, step * batch)
        if repeats == 2:
            velocity, free = velocity.chunk(2)
            velocity = velocity + conditions.guidance * (velocity - free)
        return self.velocity(velocity)

    def conditions(
        self, condition: Tensor, prompt: Tensor, guidance: float | None = None
    ) -> Conditions:
        """All that does not change from step to step, computed once."""
        guidance = self.config.guidance if guidance is None else guidance
        condition = condition.transpose(1, 2)  # [B, T, W]
        missing = condition.shape[1] - prompt.shape[2]
        prompt = F.pad(prompt.transpose(1, 2), (0, 0, 0, missing))  # [B, T, M]
        if guidance:
            condition = torch.cat([condition, torch.zeros_like(condition)])
            prompt = torch.cat([prompt, torch.zeros_like(prompt)])
        return Conditions(prompt, self.dit.read(condition), guidance)
