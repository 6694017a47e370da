"""What the speaker encoder looks at: a reference recording -> a picture of it [B, bins, T].

`MelReference` is the built-in model's: 16 kHz in, log-mel with the level taken out.
`SpectrogramReference` is the published models': 32 kHz in, magnitudes. `rate` says which is wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxray.audio import mel_filterbank
from voxray.audio.published import family_spectrogram
from voxray.config import SpeakerConfig

MEL_RATE, MEL_FFT, MEL_HOP = 16_000, 512, 160
TOP_HZ = 7_600.0  # what every source holds: a reference's bandwidth must not tell


class MelReference(nn.Module):
    """Wave [B, N] at 16 kHz -> log-mel [B, M, N // 160]."""

    bank: Tensor
    rate = MEL_RATE

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()
        bank = mel_filterbank(MEL_RATE, MEL_FFT, config.input_bins, 0.0, TOP_HZ)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        window = torch.hann_window(MEL_FFT, device=wave.device)
        bins = torch.stft(wave, MEL_FFT, MEL_HOP, window=window, return_complex=True)
        level = (self.bank @ bins.abs()[..., :-1]).clamp_min(1e-5).log()
        top = level.amax(dim=(1, 2), keepdim=True)
        return (level.maximum(top - 9.0) - top + 4.0) / 2.0


class SpectrogramReference(nn.Module):
    """Wave [B, N] at 32 kHz -> linear spectrogram [B, 1025, N // 640]."""

    rate = 32_000

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()

    def forward(self, wave: Tensor) -> Tensor:
        return family_spectrogram(wave)


REFERENCES = {"mel": MelReference, "spectrogram": SpectrogramReference}
