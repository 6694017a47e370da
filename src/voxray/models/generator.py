"""The SoVITS stage put together: semantic tokens, phonemes and a speaker vector -> speech.

`decode`: tokens [B, S] at 25 Hz -> code vectors -> prior -> sample -> inverse flow -> decoder -> 24 kHz
wave [B, 960 S] (GPT-SoVITS after VITS, Kim et al. 2021). Training adds the posterior in front of the flow
(`train/`). Sites: those of the parts, under speaker., prior., flow., decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from voxray.audio import mel_filterbank
from voxray.config import GeneratorConfig
from voxray.models.decoder_istft import IstftDecoder
from voxray.models.flow import Flow
from voxray.models.posterior_mel import MelPosterior
from voxray.models.prior import Prior
from voxray.models.speaker import SpeakerEncoder
from voxray.sites import Site

REFERENCE_RATE, REFERENCE_FFT, REFERENCE_HOP = 16_000, 512, 160
REFERENCE_TOP_HZ = 7_600.0  # what every source holds: a reference's bandwidth must not tell


@dataclass
class GeneratorOutput:
    """Audio [B, N] at 24 kHz, latents [B, Z, T], F0 in Hz [B, 2T], prior attention if recorded."""

    audio: Tensor
    latents: Tensor
    f0: Tensor
    attention: Tensor | None = None


class Generator(nn.Module):
    """Speaker encoder, prior, flow, posterior (absent from inference weights) and decoder."""

    bank: Tensor
    codebook: Tensor

    def __init__(self, config: GeneratorConfig, training_parts: bool = True) -> None:
        super().__init__()
        self.config = config
        self.speaker = SpeakerEncoder(config.speaker)
        self.prior = Prior(config.prior)
        self.flow = Flow(config.flow)
        self.posterior = MelPosterior(config.posterior) if training_parts else None
        self.decoder = IstftDecoder(config.decoder)
        bank = mel_filterbank(
            REFERENCE_RATE, REFERENCE_FFT, config.speaker.input_bins, 0.0, REFERENCE_TOP_HZ
        )
        self.register_buffer("bank", bank, persistent=False)
        codes = torch.zeros(config.codebook_size, config.prior.input_channels)
        self.register_buffer("codebook", codes)
        self.codes = Site()  # [B, 2S, C]

    def reference_mel(self, wave: Tensor) -> Tensor:
        """Reference [B, N] at 16 kHz -> log-mel [B, M, N // 160], level taken out."""
        window = torch.hann_window(REFERENCE_FFT, device=wave.device)
        bins = torch.stft(wave, REFERENCE_FFT, REFERENCE_HOP, window=window, return_complex=True)
        level = (self.bank @ bins.abs()[..., :-1]).clamp_min(1e-5).log()
        top = level.amax(dim=(1, 2), keepdim=True)
        return (level.maximum(top - 9.0) - top + 4.0) / 2.0

    def speaker_vector(self, wave: Tensor) -> Tensor:
        """Reference [B, N] at 16 kHz -> speaker vector [B, G]."""
        return self.speaker(self.reference_mel(wave))[..., 0]

    def features(self, tokens: Tensor) -> Tensor:
        """Tokens [B, S] -> code vectors at the latents' rate [B, C, 2S]."""
        return self.codes(self.codebook[tokens].repeat_interleave(2, dim=1)).transpose(1, 2)

    def decode(
        self,
        tokens: Tensor,
        text_ids: Tensor,
        speaker: Tensor,
        noise: Tensor,
        speed: float = 1.0,
    ) -> GeneratorOutput:
        """Tokens [1, S], phonemes [1, P], speaker [1, G] -> speech.

        `noise` [1, noise_channels, >= T] is drawn before by the caller: the prior's noise, then one
        latent frame's worth of white noise for the decoder. T is 2 S, or int(2 S / speed) + 1.
        """
        features = self.features(tokens)  # [1, C, 2S]
        lengths = torch.tensor([features.shape[2]])
        text_lengths = torch.tensor([text_ids.shape[1]])
        vector = speaker[..., None]  # [1, G, 1]
        out = self.prior(features, lengths, text_ids, text_lengths, vector, speed)
        frames, latent = out.mean.shape[2], self.config.decoder.latent_channels
        if noise.shape[2] < frames:
            raise ValueError(f"noise for {noise.shape[2]} frames, but {frames} are to be made")
        spread = noise[:, :latent, :frames] * out.log_std.exp() * self.config.noise_scale
        z = self.flow.inverse(out.mean + spread, out.mask, vector)
        source = noise[:, latent:, :frames].transpose(1, 2).flatten(1)  # [1, 480 T]
        made = self.decoder(z, speaker, source)
        return GeneratorOutput(made.audio, z, made.f0)
