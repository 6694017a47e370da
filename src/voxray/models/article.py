"""The `article` preset's speech half: text features and a speaker -> latents by alignment search -> speech.

In: hidden states [B, P, H] of a text encoder over raw text (a GPT-2; any module will do), speaker [B, G].
The projection to 256 channels is fused with the speaker, gives a Gaussian for every text position and its
duration; the posterior's sample, flowed, is aligned with them by monotonic search (Glow-TTS / VITS). The first
four latents are F0 and voicing, as in the built-in model, so that its decoder reads them.
Sites: text [B, D, P], alignment [B, P, T], durations [B, P], and those of fusion., posterior., flow., decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from voxray.audio import mel_filterbank
from voxray.config import ArticleConfig, FusionConfig
from voxray.models.article_posterior import ArticlePosterior
from voxray.models.decoder_istft import IstftDecoder
from voxray.models.flow import Flow
from voxray.models.fusion import SequenceFusion
from voxray.models.layers import Pointwise, length_mask
from voxray.models.monotonic import search
from voxray.models.posterior_mel import PITCH_LATENTS, pitch_latents
from voxray.models.reference import MelReference
from voxray.models.speaker import SpeakerEncoder
from voxray.sites import Site

RATE, N_FFT, HOP = 24_000, 1024, 240
PITCH_LOG_STD = -3.5
LONGEST_FRAMES = 60  # of one text position (1.2 s), when speaking


class Durations(nn.Module):
    """Text features [B, D, P] -> log of frames per position [B, P]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, hidden, 3, padding=1)
        self.second = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.out = Pointwise(hidden, 1)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        x = self.first(text * mask).relu()
        x = self.second(x * mask).relu()
        return self.out(x * mask)[:, 0]


@dataclass
class ArticleOutput:
    """What training compares: wave, latents and the prior's Gaussian along the alignment, durations."""

    audio: Tensor  # [B, N]
    placed: Tensor  # [B, Z, T], the sample behind the flow
    log_std: Tensor  # [B, Z, T], the posterior's
    prior_mean: Tensor  # [B, Z, T]
    prior_log_std: Tensor
    mask: Tensor  # [B, 1, T]
    alignment: Tensor  # [B, P, T]
    log_durations: Tensor  # [B, P], predicted
    text_mask: Tensor  # [B, 1, P]
    commitment: Tensor
    codes: Tensor  # [B, T]


class Article(nn.Module):
    """Everything but the text encoder."""

    bank: Tensor

    def __init__(self, config: ArticleConfig) -> None:
        super().__init__()
        self.config = config
        width, latents = config.text_width, config.latent_channels
        self.project = nn.Linear(config.text_hidden, width)
        fused = FusionConfig(speaker_width=config.speaker.speaker_width, input_width=width)
        self.fusion = SequenceFusion(fused)
        self.stats = Pointwise(width, 2 * latents)
        self.durations_of = Durations(width, config.duration_hidden)
        self.reference = MelReference(config.speaker)
        self.speaker = SpeakerEncoder(config.speaker)
        self.posterior = ArticlePosterior(config.posterior)
        self.flow = Flow(config.flow)
        self.decoder = IstftDecoder(config.decoder)
        bank = mel_filterbank(RATE, N_FFT, config.posterior.input_bins)
        self.register_buffer("bank", bank, persistent=False)
        self.text, self.alignment, self.durations = Site(), Site(), Site()

    def mel(self, wave: Tensor) -> Tensor:
        """Wave [B, N] at 24 kHz -> log-mel [B, M, N // 240]."""
        window = torch.hann_window(N_FFT, device=wave.device)
        bins = torch.stft(wave, N_FFT, HOP, window=window, return_complex=True)
        level = (self.bank @ bins.abs()[..., :-1]).clamp_min(1e-5).log()
        return (level + 5.0) / 3.0

    def speaker_vector(self, wave: Tensor) -> Tensor:
        """Reference [B, N] at 16 kHz -> [B, G]."""
        return self.speaker(self.reference(wave))[..., 0]

    def prior(
        self, hidden: Tensor, text_lengths: Tensor, speaker: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Text hidden [B, P, H], speaker [B, G] -> mean, log-std [B, Z, P], log-durations [B, P], mask."""
        mask = length_mask(text_lengths, hidden.shape[1])  # [B, 1, P]
        text = self.project(hidden).transpose(1, 2)  # [B, D, P]
        text = self.text(self.fusion(text, speaker[..., None])) * mask
        mean, log_std = self.stats(text).chunk(2, dim=1)  # 2 x [B, Z, P]
        durations = self.durations(self.durations_of(text.detach(), mask))
        return mean, log_std.clamp(-4.0, 2.0), durations, mask

    def latents(
        self, wave: Tensor, f0: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Wave [B, 480 T], F0 [B, 2T], noise [B, Z, T] -> sample, log-std [B, Z, T], commitment, codes."""
        frames = torch.full((len(wave),), wave.shape[1] // HOP)
        made = self.posterior(self.mel(wave), frames, noise[:, PITCH_LATENTS:])
        pitch = pitch_latents(f0).transpose(1, 2)  # [B, 4, T]
        spread = torch.full_like(pitch, PITCH_LOG_STD)
        pitch = pitch + noise[:, :PITCH_LATENTS] * spread.exp()
        assert made.codes is not None and made.commitment is not None
        log_std = torch.cat([spread, made.log_std.clamp(-6.0, 2.0)], dim=1)
        return torch.cat([pitch, made.z], dim=1), log_std, made.commitment, made.codes

    def forward(
        self,
        hidden: Tensor,
        text_lengths: Tensor,
        wave: Tensor,
        f0: Tensor,
        lengths: Tensor,
        reference: Tensor,
        dice: torch.Generator,
    ) -> ArticleOutput:
        """Train on waves [B, 480 T] with valid frames [B] of 20 ms, and their text."""
        count, frames = wave.shape[0], wave.shape[1] // (2 * HOP)
        noise = torch.randn(count, self.config.latent_channels, frames, generator=dice)
        speaker = self.speaker_vector(reference)
        mean, log_std, durations, text_mask = self.prior(hidden, text_lengths, speaker)
        z, posterior_log_std, commitment, codes = self.latents(wave, f0, noise)
        mask = length_mask(lengths, frames)
        placed = self.flow(z * mask, mask, speaker[..., None])
        alignment = search(log_likelihood(placed, mean, log_std), text_lengths, lengths)
        alignment = self.alignment(alignment)
        white = torch.randn(wave.shape, generator=dice)
        made = self.decoder(z, None, white, f0)
        return ArticleOutput(
            made.audio, placed, posterior_log_std, mean @ alignment, log_std @ alignment, mask,
            alignment, durations, text_mask, commitment, codes,
        )  # fmt: skip

    @torch.inference_mode()
    def decode(
        self, hidden: Tensor, speaker: Tensor, seed: torch.Generator, speed: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden [1, P, H], speaker [1, G] -> wave [1, N], latents [1, Z, T], frames a position [P]."""
        lengths = torch.tensor([hidden.shape[1]])
        mean, log_std, durations, _ = self.prior(hidden, lengths, speaker)
        frames = (durations[0].exp() / speed).clamp(1.0, LONGEST_FRAMES).round().long()  # [P]
        place = torch.repeat_interleave(torch.arange(len(frames)), frames)  # [T]
        mean, log_std = mean[:, :, place], log_std[:, :, place]
        noise = torch.randn(mean.shape, generator=seed) * self.config.noise_scale
        mask = mean.new_ones(1, 1, len(place))
        z = self.flow.inverse(mean + noise * log_std.exp(), mask, speaker[..., None])
        white = torch.randn(1, 2 * HOP * len(place), generator=seed)
        audio, _ = self.decoder.speak(z, speaker, white)
        return audio, z, frames


def log_likelihood(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Of frames z [B, Z, T] under each position's Gaussian [B, Z, P]: [B, P, T] (Glow-TTS, eq. 4)."""
    weight = torch.exp(-2 * log_std)  # [B, Z, P]
    constant = (-0.5 * math.log(2 * math.pi) - log_std).sum(1)[..., None]  # [B, P, 1]
    square = -0.5 * (weight.transpose(1, 2) @ z.square())
    cross = (mean * weight).transpose(1, 2) @ z
    fixed = -0.5 * (mean.square() * weight).sum(1)[..., None]
    return constant + square + cross + fixed


def duration_loss(output: ArticleOutput) -> Tensor:
    """Squared distance of the log-durations from those that the search found."""
    found = output.alignment.sum(2)  # [B, P]
    gap = (output.log_durations - found.clamp_min(1.0).log()).square()
    return (gap * output.text_mask[:, 0]).sum() / output.text_mask.sum()
