"""Semantic features + phonemes + speaker -> distribution of the latents (GPT-SoVITS, after VITS).

In: features [B, C, T] of the semantic tokens at the latents' rate, phone ids [B, P], speaker
[B, G, 1]. Out: mean, log-std [B, Z, T'] with T' = int(T / speed) + 1 when speed is not 1.
The cross-attention `attn` (queries: frames, keys: phones) is the only place where this half of
the model reads the text. With `direct` a linear path beside it all maps codes and speaker to the mean,
so that training can begin from a least-squares fit. With `memory_width` frames also look up how the
reference said the like (`memory.py`). Where it is known which phoneme a frame says (the
GPT's guided heads), `pull` draws the cross-attention towards it. Layout [B, C, T] outside, [B, T, D] inside the encoders.
Sites: memory.*, text [B, D, P]; content, joint [B, D, T], before and after reading the text; attn.*; mean,
log_std [B, Z, T']; {content,text,joint}_encoder.layers.{i}.attn.*
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import PriorConfig
from voxray.models.attention import Attention
from voxray.models.blocks import shifted
from voxray.models.layers import Pointwise, length_mask, same_padding
from voxray.models.memory import MemoryReader
from voxray.sites import Site

FARTHEST = 6  # phonemes; the pull grows no further


@dataclass
class PriorOutput:
    """Gaussian of the latents [B, Z, T], the features before it [B, D, T], mask [B, 1, T].

    With a direct path the features hold its mean behind them, [B, D + Z, T].
    """

    mean: Tensor
    log_std: Tensor
    features: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Heard:
    """Frames of the reference: code vectors [B, C, R], latents [B, Z, R], mask [B, R] (None: all count), and how the
    voice differs from what is said of it [B, Z, F + 2] (None: not known).
    """

    features: Tensor
    latents: Tensor
    mask: Tensor | None = None
    correction: Tensor | None = None


@dataclass(frozen=True)
class Window:
    """A chunk of a stream: frames [begin, end) of what has read the text.

    As published, frames from `end` on help to read only; those before `begin` the joint encoder sees as
    well. `tail` [B, D, n]: the last features of the chunk before, faded into the first n of this one.
    With `after` every frame is seen and the chunk is cut last, after stretching: out of all frames of a
    sentence it is what the whole has there.
    """

    begin: int
    end: int
    tail: Tensor | None = None
    after: bool = False


class EncoderLayer(nn.Module):
    """Windowed relative attention, then two convolutions; normalised after each sum."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        hidden, kernel = config.hidden, config.kernel
        self.attn = Attention(hidden, config.heads, window=config.window)
        self.up = nn.Conv1d(hidden, config.filter, kernel, padding=same_padding(kernel))
        self.down = nn.Conv1d(config.filter, hidden, kernel, padding=same_padding(kernel))
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, D], mask [B, 1, T] -> [B, T, D]."""
        attended = self.attn(x, mask=mask[:, None].bool())
        x = self.norm1(x + self.dropout(attended))
        hidden = self.up(x.transpose(1, 2) * mask).relu()  # [B, F, T]
        hidden = self.down(self.dropout(hidden) * mask) * mask  # [B, D, T]
        return self.norm2(x + self.dropout(hidden.transpose(1, 2)))


class Encoder(nn.Module):
    """A stack of encoder layers; [B, D, T] in and out."""

    def __init__(self, config: PriorConfig, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = (x * mask).transpose(1, 2)  # [B, T, D]
        for layer in self.layers:
            x = layer(x, mask)
        return x.transpose(1, 2) * mask


class Direct(nn.Module):
    """Code vectors [B, C, T] around a frame, and the speaker [B, G, 1], linearly -> [B, Z, T]."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.reach = config.direct // 2
        wide = (2 * self.reach + 1) * config.input_channels
        self.codes = Pointwise(wide, config.latent_channels)
        self.speaker = Pointwise(config.speaker_width, config.latent_channels, bias=False)
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def around(self, features: Tensor) -> Tensor:
        """[B, C, T] -> [B, K C, T], zeros outside."""
        return shifted(features.transpose(1, 2), self.reach).transpose(1, 2)

    def forward(self, features: Tensor, speaker: Tensor) -> Tensor:
        return self.codes(self.around(features)) + self.speaker(speaker)


class Prior(nn.Module):
    """What the latents should be, given tokens, text and speaker."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        hidden, cross = config.hidden, config.cross_width
        self.content_in = Pointwise(config.input_channels, hidden)
        self.content_encoder = Encoder(config, config.content_layers)
        self.text_embedding = nn.Embedding(config.text_symbols, hidden)
        nn.init.normal_(self.text_embedding.weight, std=hidden**-0.5)
        self.text_encoder = Encoder(config, config.text_layers)
        self.cross_content = Pointwise(hidden, cross)
        self.cross_text = Pointwise(hidden, cross)
        self.attn = Attention(cross, config.cross_heads)
        self.speaker_in = (
            nn.Identity()
            if config.speaker_width == cross
            else Pointwise(config.speaker_width, cross)
        )
        self.cross_out = Pointwise(cross, hidden)
        self.joint_encoder = Encoder(config, config.joint_layers)
        self.project = Pointwise(hidden, 2 * config.latent_channels)
        self.direct = Direct(config) if config.direct else None
        if config.memory_width and not config.direct:
            raise ValueError("memory_width: the look-up needs a linear path, direct > 0")
        self.memory = MemoryReader(config) if config.memory_width else None
        self.text, self.content, self.joint = Site(), Site(), Site()  # [B, D, P], 2 x [B, D, T]
        self.mean, self.log_std = Site(), Site()  # [B, Z, T']

    def forward(
        self,
        features: Tensor,
        lengths: Tensor,
        text_ids: Tensor,
        text_lengths: Tensor,
        speaker: Tensor,
        speed: float = 1.0,
        window: Window | None = None,
        pointer: Tensor | None = None,
        heard: Heard | None = None,
    ) -> PriorOutput:
        """features [B, C, T], lengths [B], text_ids [B, P], speaker [B, G, 1]; right padding.

        `speed` > 1 speaks faster; it stretches features that have already read the text.
        `window` keeps a part of the frames (streaming). `pointer` [B, T]: the phoneme that each frame
        says, -1 where unknown. `heard`: the reference's frames, of models that look them up.
        """
        mask = length_mask(lengths, features.shape[2])  # [B, 1, T]
        text_mask = length_mask(text_lengths, text_ids.shape[1])  # [B, 1, P]
        content = self.content_in(features * mask) * mask  # [B, D, T]
        content = self.content(self.content_encoder(content, mask))
        text = self.text_embedding(text_ids).transpose(1, 2)  # [B, D, P]
        text = self.text(self.text_encoder(text, text_mask))
        joint = self.joint(self._read_text(content, mask, text, text_mask, speaker, pointer))
        beside = None if self.direct is None else self.direct(features, speaker)  # [B, Z, T]
        if self.memory is not None and self.direct is not None and beside is not None:
            hidden, more = self._remember(self.memory, self.direct, features, joint, heard)
            joint, beside = joint + hidden * mask, beside + more
        if window is not None and not window.after:
            joint, mask = joint[:, :, : window.end], mask[:, :, : window.end]
        joint = self.joint_encoder(joint, mask)
        if beside is not None:  # [B, D + Z, T]: cut, faded and stretched alike
            joint = torch.cat([joint, beside[:, :, : joint.shape[2]]], dim=1)
        if window is not None and not window.after:
            joint, mask = _faded(window, joint, mask)
        joint, mask = stretch(joint, mask, speed)
        if window is not None and window.after:
            cut = slice(window.begin, window.end)
            joint, mask = joint[:, :, cut], mask[:, :, cut]
        hidden = self.config.hidden
        mean, log_std = (self.project(joint[:, :hidden]) * mask).chunk(2, dim=1)  # 2 x [B, Z, T']
        if self.direct is not None:
            mean = mean + joint[:, hidden:] * mask
        return PriorOutput(self.mean(mean), self.log_std(log_std), joint, mask)

    def _remember(
        self,
        memory: MemoryReader,
        direct: Direct,
        features: Tensor,
        joint: Tensor,
        heard: Heard | None,
    ) -> tuple[Tensor, Tensor]:
        """What the reference's frames add to the hidden [B, D, T] and to the mean [B, Z, T]."""
        if heard is None:
            nothing = joint.new_zeros(len(joint), self.config.latent_channels, 0)
            return memory(features, joint, features[:, :, :0], nothing, None)
        unlike = heard.latents - direct.codes(direct.around(heard.features))  # [B, Z, R]
        return memory(features, joint, heard.features, unlike, heard.mask)

    def _read_text(
        self,
        content: Tensor,
        mask: Tensor,
        text: Tensor,
        text_mask: Tensor,
        speaker: Tensor,
        pointer: Tensor | None,
    ) -> Tensor:
        content = self.cross_content(content) * mask  # [B, X, T]
        text = self.cross_text(text) * text_mask  # [B, X, P]
        bias = None
        if pointer is not None and self.config.pull:
            place = torch.arange(text.shape[2], device=text.device)
            apart = (place - pointer[..., None]).abs().clamp_max(FARTHEST)  # [B, T, P]
            bias = (-self.config.pull * apart * (pointer >= 0)[..., None])[:, None]
        attended = self.attn(
            content.transpose(1, 2),
            text.transpose(1, 2),
            mask=text_mask[:, None].bool(),
            bias=bias,
        ).transpose(1, 2)  # [B, X, T]
        return self.cross_out((attended + content + self.speaker_in(speaker)) * mask)


def stretch(x: Tensor, mask: Tensor, speed: float) -> tuple[Tensor, Tensor]:
    """Resample x [B, C, T] and its mask to int(T / speed) + 1 frames; speed 1 changes nothing."""
    if speed == 1.0:
        return x, mask
    if not speed > 0:
        raise ValueError(f"speed must be above 0, got {speed}")
    size = int(x.shape[2] / speed) + 1
    return F.interpolate(x, size=size, mode="linear"), F.interpolate(mask, size=size)


def _faded(window: Window, joint: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    joint, mask = joint[:, :, window.begin :], mask[:, :, window.begin :]
    return joint if window.tail is None else cross_fade(joint, window.tail), mask


def cross_fade(x: Tensor, tail: Tensor) -> Tensor:
    """Fade from `tail` [B, C, n] into the first n frames of x [B, C, T], sine against cosine."""
    frames = tail.shape[2]
    angle = torch.arange(frames, device=x.device) * (torch.pi / (2 * frames))
    mixed = angle.sin() * x[:, :, :frames] + angle.cos() * tail
    return torch.cat([mixed, x[:, :, frames:]], dim=2)
