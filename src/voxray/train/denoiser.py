"""`voxray train denoiser`: how to hear a reference through noise, from a store's clips and made noise.

The loss compares magnitudes to the power 0.3 (what is soft counts, too) and the log-mel that latents are made of. People
and teacher count alike; what noise the clips have themselves stays in their targets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from voxray import audio
from voxray.models.denoiser import BINS, N_FFT, RATE, Denoiser, spectrum

from .noises import spoiled
from .run import Run, Say, Schedule, Task, fit, leads, silent
from .segments import Segments

POWER = 0.3
WEIGHTS = {"magnitude": 10.0, "mel": 1.0}


class DenoiserTraining(Schedule):
    """Settings of a denoiser's run."""

    steps: int = 3000
    batch: int = 12
    frames: int = 120  # of 20 ms, of a segment
    rate: float = 2e-3
    validate_every: int = 250
    ema: float = 0.995


class Spoiled:
    """Segments of a store beside worse recordings of them."""

    def __init__(self, folder: Path, split: str, config: DenoiserTraining) -> None:
        self.segments, self.config = Segments(folder, split), config

    def batch(self, number: int, seed: int) -> list[Tensor]:
        """Bins of the noisy and of the clean waves, complex [B, T, 513], and the clean ones' band [B]."""
        dice = np.random.default_rng((seed, number))
        waves, _, band = self.segments.batch(self.config.batch, self.config.frames, dice)
        clean = [w * audio.speech_gain(w) for w in waves.numpy()]
        noisy = [
            spoiled(wave, [w for k, w in enumerate(clean) if k != n], dice)
            for n, wave in enumerate(clean)
        ]
        pairs = np.stack([noisy, clean], axis=1)  # [B, 2, N]
        for pair in pairs:
            pair[:] = recorded(pair, dice)
        made = [spectrum(torch.from_numpy(pairs[:, n].copy())) for n in (0, 1)]
        return [*made, band]


def recorded(waves: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Waves [B, N] as one and the same recorder leaves them: most keep nothing above some frequency, noise neither.

    How the edge looks must tell nothing of the noise: some are sharp, some soft, some a resampler's own.
    """
    choice, size = dice.random(), waves.shape[1]
    if choice < 0.4:
        rate = int(dice.choice([16_000, 16_000, 8_000, 22_050]))
        back = [audio.resample(audio.resample(w, RATE, rate), rate, RATE) for w in waves]
        return np.stack([np.pad(w, (0, max(0, size - len(w))))[:size] for w in back])
    if choice < 0.8:
        edge, slope = dice.choice([dice.uniform(3000, 11_500), 8000]), dice.uniform(1.0, 800.0)
        hertz = np.fft.rfftfreq(size, 1 / RATE)
        kept = np.clip((edge - hertz) / slope, 0.0, 1.0)
        return np.fft.irfft(np.fft.rfft(waves) * kept, size).astype(np.float32)
    return waves


def losses_of(model: Denoiser, batch: list[Tensor], bank: Tensor) -> dict[str, Tensor]:
    """Distances of what the model leaves of the noisy bins from the clean ones."""
    noisy, clean, band = batch
    heard, said = noisy.abs(), clean.abs()
    made = model(heard) * heard
    known = (torch.arange(BINS) / BINS)[None, None] < band[:, None, None]  # [B, 1, 513]
    apart = ((made + 1e-6) ** POWER - (said + 1e-6) ** POWER).square() * known
    mel = [((x * known) @ bank.t()).clamp_min(1e-4).log() / 3.0 for x in (made, said)]
    return {"magnitude": apart.mean(), "mel": (mel[0] - mel[1]).abs().mean()}


def train_denoiser(
    data: Path, out: Path, config: DenoiserTraining, say: Say = silent
) -> Denoiser:  # fmt: skip
    """Train, or go on; writes OUT/denoiser.safetensors, fp16."""
    torch.manual_seed(config.seed)
    model, bank = Denoiser(), audio.mel_filterbank(RATE, N_FFT, 100)
    clips, held = Spoiled(data, "train", config), Spoiled(data, "dev", config)

    def validate() -> dict[str, float]:
        rows = [losses_of(model, held.batch(n, 0), bank) for n in range(8)]
        means = {k: float(np.mean([float(r[k]) for r in rows])) for k in rows[0]}
        return {"loss": sum(WEIGHTS[k] * v for k, v in means.items()), **means}

    task = Task(
        [{"params": list(model.parameters())}],
        lambda number: losses_of(model, clips.batch(number, config.seed), bank),
        WEIGHTS,
        validate=validate if held.segments.entries else None,
    )
    fit(Run(out, {"denoiser": model}), task, config, say)
    if leads():
        state = {name: value.detach().half() for name, value in model.state_dict().items()}
        beside = out / "denoiser.safetensors.part"
        save_file(state, beside)
        beside.replace(out / "denoiser.safetensors")
    return model.eval()
