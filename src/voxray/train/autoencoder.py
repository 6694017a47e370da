"""`voxray train generator`, first part: posterior and decoder as an autoencoder on real waves.

The posterior is fitted once (principal components of the log-mel, F0 beside them) and stands still;
the decoder starts from its inverse. Every step: fixed-length segments -> posterior -> noisy latents ->
decoder (with the true F0 as source) -> multi-resolution spectral loss, none above a source's band.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxray.config import GeneratorConfig
from voxray.models.generator import Generator

from .feed import Feed, half, place
from .run import Run, Say, Schedule, Task, fit, silent
from .segments import Segments, sample_latents
from .start import start_latents

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))


class AutoencoderTraining(Schedule):
    """Settings of the first part of a generator run."""

    model: GeneratorConfig = GeneratorConfig()
    steps: int = 3000
    batch: int = 8
    segment_frames: int = 40  # 50 Hz: 0.8 s
    rate: float = 1e-3
    clip: float = 2.0
    fit_clips: int = 600  # segments from which the principal components are taken


@cache
def _analysis(n_fft: int, device: torch.device) -> Tensor:
    """Windowed cosines and sines as a matrix [n_fft, 2 F]: on a CPU a product beats FFT's backward."""
    turns = np.arange(n_fft)[:, None] * np.arange(n_fft // 2 + 1)[None] % n_fft
    angles = turns * (2 * np.pi / n_fft)
    window = np.hanning(n_fft + 1)[:-1, None]  # periodic, as torch.hann_window
    both = window * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    with torch.inference_mode(False):  # else it could never be trained through
        return torch.from_numpy(both.astype(np.float32)).to(device)


def _power(wave: Tensor, n_fft: int, hop: int) -> Tensor:
    """Wave [B, N] -> power spectrogram [B, T, F], frames wholly inside."""
    both = wave.unfold(1, n_fft, hop) @ _analysis(n_fft, wave.device).to(wave.dtype)
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


def train_autoencoder(
    folder: Path, out: Path, config: AutoencoderTraining, say: Say = silent
) -> Generator:
    """Train posterior and decoder; resumes from `out`."""
    torch.manual_seed(config.seed)  # initial weights only
    model = Generator(config.model)
    run = Run(out, {"generator": model})
    data, held = Segments(folder), Segments(folder, "dev")
    start_latents(model, data, config.fit_clips, config.seed)
    device = place(config)
    model.to(device)

    def make(number: int) -> list[Tensor]:
        rng = np.random.default_rng((config.seed, number))
        return data.batch(config.batch, config.segment_frames, rng)

    feed = Feed(make, config, device)

    def losses(number: int) -> dict[str, Tensor]:
        return _losses(model, feed(number), number)[0]

    def validate() -> dict[str, float]:
        rng = np.random.default_rng(0)
        batch = feed.moved(held.batch(config.batch, config.segment_frames, rng))
        parts, audio = _losses(model, batch, 0)
        run.hear("copy", audio[0].float().cpu().numpy(), model.config.sample_rate)
        return {"loss": float(parts["spectrum"]), **{k: float(v) for k, v in parts.items()}}

    trained = [{"params": list(model.decoder.parameters())}]
    check = validate if held.entries else None
    task = Task(trained, losses, {"spectrum": 1.0}, validate=check, betas=(0.8, 0.99))
    fit(run, task, config, say)
    return model


def _losses(model: Generator, batch: list[Tensor], step: int) -> tuple[dict[str, Tensor], Tensor]:
    """The losses of one batch, and the waves [B, N] made."""
    wave, f0, band = batch
    dice = torch.Generator(wave.device).manual_seed(step)
    z = sample_latents(model, wave, f0, dice)[0]
    with half(wave.device):
        source = torch.randn(wave.shape, generator=dice, device=wave.device)
        out = model.decoder(z, None, source, f0)
    return {"spectrum": spectral_loss(out.audio, wave, band)}, out.audio
