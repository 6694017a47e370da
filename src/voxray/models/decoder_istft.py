"""Source-filter decoder in the short-time Fourier domain: latents -> waveform.

In: latents z [B, Z, T] at 50 Hz and the speaker vector [B, G]. The first four latents are F0 and
voicing (the one place where the height of the voice is a number, and can be changed). A pulse train
at that F0 and white noise are the sources; every frame and bin has a complex filter of the pulses and a
magnitude of the noise: a linear map of the latents, which begins as their log-mel's envelope, plus what
a small network adds. Overlap-add gives the wave [B, 480 T].
After Vocos (Siuzdak 2023, arXiv 2306.00814) for the frame-rate network with an inverse STFT head and
neural source-filter models (Wang et al. 2019, arXiv 1904.12088) for the excitation.
Sites: latents [B, Z, T], f0 [B, 2T] in Hz (0: unvoiced), stages.{i} [B, 2T, D].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import IstftDecoderConfig
from voxray.models.blocks import ShiftBlock
from voxray.models.posterior_mel import PITCH_LATENTS, REFERENCE_HZ, read_pitch
from voxray.sites import Site

# Log-levels of the sources themselves, so that an envelope becomes a gain: white noise of unit power through a
# Hann window of 1,024, pulses of unit power (mean over bins, 80-300 Hz); and how far noise falls where voiced.
NOISE_LEVEL, PULSE_LEVEL, VOICED_DROP = 2.85, 2.6, 1.0


@dataclass
class DecoderOutput:
    """Wave [B, N], F0 in Hz that was used [B, 2T], octaves and voicing logit predicted [B, 2T]."""

    audio: Tensor
    f0: Tensor
    octaves: Tensor
    voicing: Tensor


class IstftDecoder(nn.Module):
    """Latents and speaker -> 24 kHz speech."""

    def __init__(self, config: IstftDecoderConfig) -> None:
        super().__init__()
        self.config = config
        width, bins = config.width, config.n_fft // 2 + 1
        self.direct = nn.Linear(config.latent_channels, 4 * bins)  # [.., 2 frames x (loud, hiss)]
        self.enter = nn.Linear(config.latent_channels, 2 * width)
        self.pitch_in = nn.Linear(2, width)
        self.blocks = nn.ModuleList(
            ShiftBlock(width, condition=config.speaker_width) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.filters = nn.Linear(width, 4 * bins)
        nn.init.normal_(self.filters.weight, std=0.01)
        nn.init.zeros_(self.filters.bias)
        self.latents, self.f0 = Site(), Site()  # [B, Z, T], [B, 2T]
        self.stages = [Site() for _ in range(config.layers)]  # [B, 2T, D]

    def forward(
        self, z: Tensor, speaker: Tensor | None, noise: Tensor, f0: Tensor | None = None
    ) -> DecoderOutput:
        """z [B, Z, T], speaker [B, G] (None: unused), white noise [B, 480 T]; `f0` [B, 2T] Hz overrides."""
        z = self.latents(z).transpose(1, 2)  # [B, T, Z]
        octaves, voicing = read_pitch(z)
        f0 = self.f0(_hertz(octaves, voicing) if f0 is None else f0)  # [B, 2T]
        x = self.enter(z).reshape(z.shape[0], 2 * z.shape[1], -1)  # [B, 2T, D]
        voiced = (f0 > 0).float()
        height = torch.log2(f0.clamp_min(30.0) / REFERENCE_HZ) * voiced
        x = x + self.pitch_in(torch.stack([height, voiced], dim=2))
        for block, stage in zip(self.blocks, self.stages, strict=True):
            x = stage(block(x, speaker))
        with torch.autocast(
            z.device.type, enabled=False
        ):  # in bf16 levels are half a decibel apart
            envelope = self.direct(z.float()).reshape(x.shape[0], x.shape[1], -1)  # [B, 2T, 2F]
            filters = self.filters(self.norm(x.float()))  # [B, 2T, 4F]
        audio = self._filter(envelope, filters, f0.float(), noise.float())
        return DecoderOutput(audio, f0, octaves, voicing)

    @staticmethod
    @torch.no_grad()
    def sung(z: Tensor) -> Tensor:
        """The F0 [B, 2T] in Hz that z [B, Z, T] is decoded with; 0 where unvoiced."""
        return _hertz(*read_pitch(z.transpose(1, 2)))

    @torch.no_grad()
    def start_from(self, synthesis: Tensor, centre: Tensor, bank: Tensor) -> None:
        """Let `direct` be the envelope of the posterior's log-mel: `synthesis` [Z - 4, 2M], its `centre`
        [2M] and mel filters [M, F'].
        """
        mels, bins = bank.shape[0], self.config.n_fft // 2 + 1
        spread = _between(bank, bins)  # [M, F]
        weight = torch.zeros(2, 2, bins, self.config.latent_channels)  # frame, (loud, hiss), F, Z
        bias = torch.zeros(2, 2, bins)
        drop = torch.tensor([0.0, VOICED_DROP])
        for frame, part in enumerate((slice(0, mels), slice(mels, 2 * mels))):
            weight[frame, :, :, PITCH_LATENTS:] = 3.0 * (synthesis[:, part] @ spread).t()
            weight[frame, :, :, 2 + frame] = -drop[:, None]
            level = (3.0 * centre[part] - 5.0 - bank.sum(1).log()) @ spread  # [F]
            bias[frame, 0] = level - PULSE_LEVEL + 2.0
            bias[frame, 1] = level - NOISE_LEVEL - VOICED_DROP + 4.0
        self.direct.weight.copy_(weight.flatten(0, 2))
        self.direct.bias.copy_(bias.flatten())

    def speak(self, z: Tensor, speaker: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z [B, Z, T], speaker [B, G], noise [B, 480 T] -> wave [B, 480 T], F0 [B, 2T] in Hz."""
        made = self(z, speaker, noise)
        return made.audio, made.f0

    def _filter(self, envelope: Tensor, filters: Tensor, f0: Tensor, noise: Tensor) -> Tensor:
        """Envelope [B, 2T, 2F] and filters [B, 2T, 4F] over pulses and noise -> wave [B, 480 T]."""
        config = self.config
        window = torch.hann_window(config.n_fft, device=f0.device)
        pulses = pulse_train(f0, config.hop, config.rate)  # [B, N]
        sources = torch.stft(
            torch.cat([pulses, noise]),
            config.n_fft,
            config.hop,
            window=window,
            return_complex=True,
            pad_mode="constant",
        )  # [2B, F, 2T + 1]
        harmonic, breath = sources[..., :-1].chunk(2)
        loud, real, turn, hiss = filters.transpose(1, 2).chunk(4, dim=1)  # 4 x [B, F, 2T]
        loud_floor, hiss_floor = envelope.transpose(1, 2).chunk(2, dim=1)  # 2 x [B, F, 2T]
        gain = torch.exp((loud + loud_floor).clamp(-12, 6) - 2.0)
        rotation = torch.complex(1.0 + real, turn)
        veil = torch.exp((hiss + hiss_floor).clamp(-12, 6) - 4.0)
        spectrum = harmonic * gain * rotation + breath * veil
        pairs = torch.cat([spectrum.real, spectrum.imag], dim=1).transpose(1, 2)  # [B, 2T, 2F]
        with torch.autocast(f0.device.type, enabled=False):
            return overlap_add(pairs, config.n_fft, config.hop)


def _hertz(octaves: Tensor, voicing: Tensor) -> Tensor:
    """F0 [B, 2T] of what latents say of pitch, smoothed over 50 ms."""
    smooth = F.avg_pool1d(F.pad(octaves, (2, 2), mode="replicate"), 5, 1)
    return torch.where(voicing > 0, REFERENCE_HZ * 2.0**smooth, torch.zeros(()))


def _between(bank: Tensor, bins: int) -> Tensor:
    """Mel filters [M, F'] -> weights [M, bins] that draw straight lines between the filters' centres."""
    centres = (bank * torch.arange(bank.shape[1])).sum(1) / bank.sum(1) * (bins - 1)
    centres = (centres / (bank.shape[1] - 1)).double().numpy()
    rows = [np.interp(np.arange(bins), centres, row) for row in np.eye(len(centres))]
    return torch.from_numpy(np.stack(rows)).float()


@cache
def _inverse(n_fft: int, device: torch.device) -> Tensor:
    """Real and imaginary parts of one frame -> windowed samples, as a matrix [2 F, n_fft]."""
    turns = np.arange(n_fft // 2 + 1)[:, None] * np.arange(n_fft)[None] % n_fft
    angles = turns * (2 * np.pi / n_fft)
    twice = np.full((n_fft // 2 + 1, 1), 2.0)
    twice[0] = twice[-1] = 1.0
    window = np.hanning(n_fft + 1)[:-1]  # periodic, as torch.hann_window
    both = np.concatenate([twice * np.cos(angles), -twice * np.sin(angles)])
    matrix = (both * window / n_fft).astype(np.float32)
    with torch.inference_mode(False):  # else it could never be trained through
        return torch.from_numpy(matrix).to(device)


def overlap_add(pairs: Tensor, n_fft: int, hop: int) -> Tensor:
    """Inverse STFT, frames centred: [B, T, 2 F] (real, imaginary) -> wave [B, T * hop].

    The function of `torch.istft` with a Hann window; a matrix product has the cheaper backward.
    """
    frames = F.pad(
        pairs @ _inverse(n_fft, pairs.device).to(pairs), (0, 0, 0, 1)
    )  # [B, T + 1, n_fft]
    count = frames.shape[1]
    length = (count - 1) * hop + n_fft
    squares = torch.hann_window(n_fft, device=pairs.device).square()
    columns = torch.cat([frames, squares.expand(1, count, -1)]).transpose(1, 2)
    added = F.fold(columns, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]
    wave = added[:-1] / added[-1:].clamp_min(1e-8)
    return wave[:, n_fft // 2 : n_fft // 2 + (count - 1) * hop]


def pulse_train(f0: Tensor, hop: int, rate: int) -> Tensor:
    """Band-limited pulses, all harmonics alike, unit power: f0 [B, T] Hz -> [B, T * hop].

    The sum of cosines 1..K in closed form: sin((K + 1/2) x) / (2 sin(x / 2)) - 1/2.
    """
    voiced = (f0 > 0).float()
    filled = torch.where(f0 > 0, f0, torch.full_like(f0, 100.0))
    per_sample = F.interpolate(filled[:, None], scale_factor=hop, mode="linear")[:, 0]
    gate = F.interpolate(voiced[:, None], scale_factor=hop, mode="linear")[:, 0]
    turns = torch.cumsum(per_sample.double() / rate, dim=1)
    x = (2 * math.pi * (turns - turns.floor())).float()
    count = torch.repeat_interleave(torch.floor(0.45 * rate / filled), hop, dim=1)
    half = torch.sin(x / 2)
    safe = torch.where(half.abs() < 1e-4, torch.full_like(half, 1e-4), half)
    body = torch.sin((count + 0.5) * x) / (2 * safe) - 0.5
    body = torch.where(half.abs() < 1e-4, count, body)
    return body * gate * torch.rsqrt(count / 2)
