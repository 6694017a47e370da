"""The SoVITS stage put together: semantic tokens, phonemes and a speaker vector -> speech.

`decode`: code vectors [B, S, C] at 25 Hz -> prior -> sample -> inverse flow -> decoder -> 24 kHz wave
[B, 960 S] (GPT-SoVITS after VITS, Kim et al. 2021). Training adds the posterior in front of the flow
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

REFERENCE_RATE, REFERENCE_FFT, REFERENCE_HOP = 16_000, 512, 160
REFERENCE_TOP_HZ = 7_600.0  # what every source holds: a reference's bandwidth must not tell


@dataclass
class GeneratorOutput:
    """Audio [B, N] at 24 kHz, latents [B, Z, T], F0 in Hz [B, 2T]."""

    audio: Tensor
    latents: Tensor
    f0: Tensor


class Generator(nn.Module):
    """Speaker encoder, prior, flow, posterior (absent from inference weights) and decoder."""

    bank: Tensor

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

    def decode(
        self,
        codes: Tensor,
        text_ids: Tensor,
        speaker: Tensor,
        noise: Tensor,
        source_noise: Tensor,
        noise_scale: float = 0.5,
        speed: float = 1.0,
    ) -> GeneratorOutput:
        """Code vectors [1, S, C], phonemes [1, P], speaker [1, G] -> speech.

        `noise` [1, Z, >= T] and `source_noise` [1, >= 480 T] are drawn before by the caller; T is
        2 S, or int(2 S / speed) + 1 when speed is not 1.
        """
        features = codes.repeat_interleave(2, dim=1).transpose(1, 2)  # [1, C, 2S]
        lengths = torch.tensor([features.shape[2]])
        text_lengths = torch.tensor([text_ids.shape[1]])
        vector = speaker[..., None]  # [1, G, 1]
        out = self.prior(features, lengths, text_ids, text_lengths, vector, speed)
        frames = out.mean.shape[2]
        z = out.mean + noise[:, :, :frames] * out.log_std.exp() * noise_scale
        z = self.flow.inverse(z, out.mask, vector)
        made = self.decoder(z, speaker, source_noise[:, : 480 * frames])
        return GeneratorOutput(made.audio, z, made.f0)
