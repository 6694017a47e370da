"""`voxray train generator`, second part: prior, flow and speaker encoder on frozen latents.

Posterior and decoder stand still; what is learnt is the density of their latents given tokens,
phonemes and a reference of the same speaker: the negative log-likelihood under a Gaussian behind a
volume-preserving flow (VITS' KL term without its sampling noise). Steps cost no waveform.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voxray.config import GeneratorConfig
from voxray.models.generator import Generator

from .autoencoder import Segments
from .label import read_labels
from .run import Run, Say, Schedule, Task, fit, silent


class PriorTraining(Schedule):
    """Settings of the second part of a generator run."""

    model: GeneratorConfig = GeneratorConfig()
    steps: int = 1500
    batch: int = 12
    segment_tokens: int = 50
    max_phones: int = 48
    rate: float = 8e-4
    seed: int = 2
    freeze_text: bool = False  # the prior's text encoder stands still until the loss is flat


class Aligned(Segments):
    """Segments with their tokens and the phonemes that are spoken in them."""

    def __init__(self, folder: Path, split: str = "train") -> None:
        super().__init__(folder, split)
        self.tokens = self.store.array("tokens.i16", "int16", 960)
        self.labels = read_labels(folder, ("labels.jsonl", "labels_people.jsonl"))
        self.entries = [e for e in self.entries if e.name in self.labels]

    def aligned(self, config: PriorTraining, rng: np.random.Generator) -> list[Tensor]:
        """wave [B, 960 S], tokens [B, S], ids [B, P], lengths [B], reference [B, M], F0 [B, 4 S] in
        Hz, band [B] as a share of Nyquist.
        """
        size = config.segment_tokens
        waves, tokens, texts, references, pitches, bands = [], [], [], [], [], []
        while len(waves) < config.batch:
            entry = self.entries[int(rng.integers(len(self.entries)))]
            total = entry.samples // 960
            if total < size:
                continue
            at = int(rng.integers(0, total - size + 1))
            label = self.labels[entry.name]
            inside = (label.spans[:, 1] > 2 * at) & (label.spans[:, 0] < 2 * (at + size))
            ids = label.ids[inside][: config.max_phones]
            if len(ids) == 0:
                continue
            first = entry.start // 960 + at
            waves.append(self.store.wave[first * 960 : (first + size) * 960] / np.float32(32768))
            tokens.append(self.tokens[first : first + size].astype(np.int64))
            texts.append(ids)
            references.append(self.reference(entry, rng))
            pitches.append(self.f0[first * 4 : (first + size) * 4].astype(np.float32))
            bands.append(min(1.0, entry.band_hz * 0.95 / 12_000))
        padded = torch.zeros(config.batch, config.max_phones, dtype=torch.long)
        for row, ids in zip(padded, texts, strict=True):
            row[: len(ids)] = torch.from_numpy(np.asarray(ids))
        return [
            torch.from_numpy(np.stack(waves).astype(np.float32)),
            torch.from_numpy(np.stack(tokens)),
            padded,
            torch.tensor([len(ids) for ids in texts]),
            torch.from_numpy(np.stack(references)),
            torch.from_numpy(np.stack(pitches)),
            torch.tensor(bands, dtype=torch.float32),
        ]


def prior_losses(model: Generator, batch: list[Tensor]) -> dict[str, Tensor]:
    """Negative log-likelihood per latent value, and the distance of the mean alone."""
    wave, tokens, ids, lengths, reference = batch[:5]
    if model.posterior is None:
        raise ValueError("training needs the posterior encoder")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        z, _ = model.posterior(wave)
    with torch.autocast("cpu", torch.bfloat16):
        speaker = model.speaker_vector(reference)[..., None]
        features = model.features(tokens)
        frames = torch.full((len(tokens),), features.shape[2])
        out = model.prior(features, frames, ids, lengths, speaker)
        placed = model.flow(z, out.mask, speaker)
    mean, log_std, placed = out.mean.float(), out.log_std.float().clamp(-6, 3), placed.float()
    error = (placed - mean).square()
    return {
        "nll": (log_std + 0.5 * error * torch.exp(-2 * log_std)).mean(),
        "error": error.mean(),
        "spread": log_std.mean(),
    }


def text_parts(model: Generator) -> list[nn.Module]:
    """What `freeze_text` holds still at first."""
    return [model.prior.text_encoder, model.prior.text_embedding]


def train_prior(
    folder: Path, out: Path, model: Generator, config: PriorTraining, say: Say = silent
) -> Generator:
    """Train on a store with tokens and labels; `model` holds trained posterior and decoder."""
    run = Run(out, {"generator": model})
    trained = [p for part in (model.prior, model.flow, model.speaker) for p in part.parameters()]
    data, held = Aligned(folder), Aligned(folder, "dev")
    model.codebook.copy_(torch.from_numpy(np.load(folder / "codebook.npy")))

    def losses(number: int) -> dict[str, Tensor]:
        return prior_losses(
            model, data.aligned(config, np.random.default_rng((config.seed, number)))
        )

    def validate() -> dict[str, float]:
        parts = prior_losses(model, held.aligned(config, np.random.default_rng(0)))
        return {"loss": float(parts["nll"]), **{k: float(v) for k, v in parts.items()}}

    task = Task(
        [{"params": trained}],
        losses,
        {"nll": 1.0},
        later=text_parts(model) if config.freeze_text else (),
        validate=validate if held.entries else None,
    )
    fit(run, task, config, say)
    return model
