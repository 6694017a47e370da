"""`voxray train generator`, first part: posterior and decoder as an autoencoder on real waves.

Every step: fixed-length segments -> posterior -> latents -> decoder (with the true F0 as source)
-> multi-resolution spectral loss, F0 and voicing loss, and a light pull of the latents to N(0, 1).
No loss above a source's band.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from voxray.audio import resample
from voxray.config import GeneratorConfig
from voxray.models.decoder_istft import REFERENCE_HZ
from voxray.models.generator import Generator

from .run import Run, Say, Schedule, Task, fit, silent
from .store import Entry, Store

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
REFERENCE_SECONDS = 2.4


class AutoencoderTraining(Schedule):
    """Settings of the first part of a generator run."""

    model: GeneratorConfig = GeneratorConfig()
    steps: int = 3000
    batch: int = 8
    segment_frames: int = 40  # 50 Hz: 0.8 s
    rate: float = 1e-3
    clip: float = 2.0
    latent_pull: float = 2e-3


class Segments:
    """Random fixed-length segments of a store with F0 and a reference of the same speaker."""

    def __init__(self, folder: Path, split: str = "train") -> None:
        self.store = Store(folder)
        self.f0 = self.store.array("f0.f16", "float16", 240)
        self.entries = [e for e in self.store.entries if e.split == split]
        self.by_speaker: dict[str, list[Entry]] = {}
        for entry in self.entries:
            self.by_speaker.setdefault(entry.speaker, []).append(entry)

    def reference(self, entry: Entry, rng: np.random.Generator) -> np.ndarray:
        """A stretch of 16 kHz audio by the same speaker, from another clip where there is one."""
        pool = [e for e in self.by_speaker[entry.speaker] if e is not entry] or [entry]
        wave = self.store.audio(pool[int(rng.integers(len(pool)))])
        size = int(REFERENCE_SECONDS * 24_000)
        if len(wave) < size:
            wave = np.tile(wave, -(-size // len(wave)))
        at = int(rng.integers(0, len(wave) - size + 1))
        return resample(wave[at : at + size], 24_000, 16_000)

    def batch(self, count: int, frames: int, rng: np.random.Generator) -> list[Tensor]:
        """wave [B, 480 T], f0 [B, 2T], band [B] as a share of Nyquist."""
        waves, pitches, bands = [], [], []
        while len(waves) < count:
            entry = self.entries[int(rng.integers(len(self.entries)))]
            total = entry.samples // 480
            if total < frames:
                continue
            at = int(rng.integers(0, total - frames + 1))
            first = entry.start + at * 480
            waves.append(self.store.wave[first : first + frames * 480].astype(np.float32) / 32768)
            pitches.append(self.f0[first // 240 : first // 240 + 2 * frames].astype(np.float32))
            bands.append(min(1.0, entry.band_hz * 0.95 / 12_000))
        stacked = [np.stack(waves), np.stack(pitches), np.array(bands)]
        return [torch.from_numpy(a.astype(np.float32)) for a in stacked]


@cache
def _analysis(n_fft: int) -> NDArray[np.float32]:
    """Windowed cosines and sines as a matrix [n_fft, 2 F]: on a CPU a product beats FFT's backward."""
    turns = np.arange(n_fft)[:, None] * np.arange(n_fft // 2 + 1)[None] % n_fft
    angles = turns * (2 * np.pi / n_fft)
    window = np.hanning(n_fft + 1)[:-1, None]  # periodic, as torch.hann_window
    return (window * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def _power(wave: Tensor, n_fft: int, hop: int) -> Tensor:
    """Wave [B, N] -> power spectrogram [B, T, F], frames wholly inside."""
    both = wave.unfold(1, n_fft, hop) @ torch.from_numpy(_analysis(n_fft)).to(wave)
    return both.square().unflatten(2, (2, -1)).sum(2)


def spectral_loss(made: Tensor, real: Tensor, band: Tensor) -> Tensor:
    """Mean over resolutions of log-magnitude L1 and relative linear L1, within each item's band."""
    total = made.new_zeros(())
    for n_fft, hop in RESOLUTIONS:
        ours = (_power(made, n_fft, hop) + 1e-7).sqrt()  # [B, T, F]
        with torch.no_grad():
            theirs = (_power(real, n_fft, hop) + 1e-7).sqrt()
        bins = torch.arange(ours.shape[2], device=made.device) / (ours.shape[2] - 1)
        keep = (bins[None, None] <= band[:, None, None]).float()
        share = keep.mean() * ours.numel()
        floor = 3e-3 * n_fft / 512
        logs = ((ours + floor).log() - (theirs + floor).log()).abs() * keep
        lines = (ours - theirs).abs() * keep
        total = total + logs.sum() / share + lines.sum() / ((theirs * keep).sum() + 1.0)
    return total / len(RESOLUTIONS)


def pitch_losses(octaves: Tensor, voicing: Tensor, f0: Tensor) -> tuple[Tensor, Tensor]:
    """Octave error on voiced frames; voicing cross-entropy."""
    voiced = f0 > 0
    target = torch.log2(f0.clamp_min(30.0) / REFERENCE_HZ)
    error = ((octaves - target).abs() * voiced).sum() / voiced.sum().clamp_min(1)
    return error, F.binary_cross_entropy_with_logits(voicing, voiced.float())


def train_autoencoder(
    folder: Path, out: Path, config: AutoencoderTraining, say: Say = silent
) -> Generator:
    """Train posterior and decoder; resumes from `out`."""
    torch.manual_seed(config.seed)  # initial weights only
    model = Generator(config.model)
    if model.posterior is None:
        raise ValueError("training needs the posterior encoder")
    trained = [*model.posterior.parameters(), *model.decoder.parameters()]
    run = Run(out, {"generator": model})
    data, held = Segments(folder), Segments(folder, "dev")

    def losses(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        return _losses(model, data.batch(config.batch, config.segment_frames, rng), number)[0]

    def validate() -> dict[str, float]:
        batch = held.batch(config.batch, config.segment_frames, np.random.default_rng(0))
        parts, audio = _losses(model, batch, 0)
        run.hear("copy", audio[0].float().numpy(), model.config.sample_rate)
        return {"loss": float(parts["spectrum"]), **{k: float(v) for k, v in parts.items()}}

    weights = {"spectrum": 1.0, "pitch": 1.0, "voicing": 0.3, "pull": config.latent_pull}
    check = validate if held.entries else None
    task = Task([{"params": trained}], losses, weights, validate=check, betas=(0.8, 0.99))
    fit(run, task, config, say)
    return model


def _losses(model: Generator, batch: list[Tensor], step: int) -> tuple[dict[str, Tensor], Tensor]:
    """The losses of one batch, and the waves [B, N] made."""
    wave, f0, band = batch
    dice = torch.Generator().manual_seed(step)
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_std = model.posterior(wave)  # type: ignore[misc]
        z = mean + torch.randn(mean.shape, generator=dice) * log_std.exp()
        source = torch.randn(wave.shape, generator=dice)
        out = model.decoder(z, None, source, f0)
    pitch, voicing = pitch_losses(out.octaves, out.voicing, f0)
    pull = 0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1).mean() * mean.shape[1]
    spectrum = spectral_loss(out.audio, wave, band)
    return {"spectrum": spectrum, "pitch": pitch, "voicing": voicing, "pull": pull}, out.audio
