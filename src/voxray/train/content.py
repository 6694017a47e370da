"""`voxray train content`: the upper half of the content encoder, the quantiser and the readout.

The lower blocks are frozen and their output is cached once (`hidden.f16`, 50 Hz). The loss: frame
cross-entropy of phonemes (where labelled), F0 relative to the clip's median in octaves, voicing,
energy, commitment. Codes are quantised after `free_steps`, from a k-means start.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voxray.audio import resample
from voxray.config import Config, ContentConfig
from voxray.text.symbols import SYMBOL_TO_ID
from voxray.tokens.content import ContentEncoder, Readout
from voxray.tokens.quantiser import Quantiser

from .label import FRAME, Label, read_labels
from .run import Run, warm
from .store import Entry, Store

SILENCE = SYMBOL_TO_ID["SP"]
PAUSE_IDS = [SYMBOL_TO_ID[s] for s in (",", ".", "!", "?", "-", "…", "SP", "SP2", "SP3")]
BUCKET = 16_000
QUIET_DB = 38.0  # below the clip's loudest frame: labelled silence whatever the text says


class ContentTraining(Config):
    """Settings of a content run."""

    model: ContentConfig = ContentConfig()
    steps: int = 600
    batch_clips: int = 24
    crop_frames: int = 300
    rate: float = 6e-4
    free_steps: int = 150  # steps before the quantiser starts
    seed: int = 1


def cache_hidden(
    folder: Path, encoder: ContentEncoder, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write `hidden.f16` [total frames, D]: the frozen trunk's output for every clip."""
    store = Store(folder)
    hidden = store.create("hidden.f16", "float16", FRAME, encoder.config.width)
    for i, entry in enumerate(store.entries):
        wave = torch.from_numpy(resample(store.audio(entry), 24_000, 16_000))
        wave = F.pad(wave, (0, -len(wave) % BUCKET))  # few shapes: kernels are built per shape
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            rows = encoder.trunk(encoder.mel(wave[None]))[0]
        count = entry.samples // FRAME
        hidden[entry.start // FRAME : entry.start // FRAME + count] = rows[:count].float().numpy()
        if progress:
            progress(i + 1, len(store.entries))


class Frames:
    """Per-frame targets of a store at 50 Hz, cut and padded into batches."""

    def __init__(self, folder: Path, width: int) -> None:
        self.store = Store(folder)
        self.labels = read_labels(folder)
        self.hidden = self.store.array("hidden.f16", "float16", FRAME, width)
        self.f0 = self.store.array("f0.f16", "float16", 240)

    def targets(self, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
        """Phoneme ids [T] (-100 where unknown) and (octaves, voiced, energy) [T, 3]."""
        count = entry.samples // FRAME
        wave = self.store.audio(entry)[: count * FRAME].reshape(count, FRAME)
        level = 10 * np.log10(np.square(wave).mean(1) + 1e-9)
        top = level.max()
        f0 = self.f0[entry.start // 240 : entry.start // 240 + 2 * count].astype(np.float32)
        f0 = f0.reshape(count, 2).max(1)
        voiced = f0 > 0
        middle = np.median(f0[voiced]) if voiced.any() else 150.0
        octaves = np.where(voiced, np.log2(np.maximum(f0, 1.0) / middle), 0.0)
        prosody = np.stack([octaves, voiced, (level - top) / 20.0 + 1.0], 1).astype(np.float32)
        return self._ids(entry, count, level < top - QUIET_DB), prosody

    def _ids(self, entry: Entry, count: int, quiet: np.ndarray) -> np.ndarray:
        ids = np.full(count, -100)
        label: Label | None = self.labels.get(entry.name)
        if label is None:
            return ids
        ids[:] = SILENCE
        for symbol, (start, end) in zip(label.ids, label.spans, strict=True):
            ids[start:end] = SILENCE if symbol in PAUSE_IDS else symbol
        ids[quiet] = SILENCE
        return ids

    def batch(self, entries: list[Entry], crop: int, rng: np.random.Generator) -> list[Tensor]:
        """hidden [B, T, D], mask [B, T], ids [B, T], prosody [B, T, 3]; T is even."""
        rows = []
        for entry in entries:
            count = entry.samples // FRAME
            size = min(crop, count) // 2 * 2
            at = int(rng.integers(0, (count - size) // 2 + 1)) * 2
            ids, prosody = self.targets(entry)
            first = entry.start // FRAME + at
            part = slice(at, at + size)
            rows.append((self.hidden[first : first + size], ids[part], prosody[part]))
        longest = crop
        hidden = torch.zeros(len(rows), longest, self.hidden.shape[1])
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        ids = torch.full((len(rows), longest), -100)
        prosody = torch.zeros(len(rows), longest, 3)
        for i, (h, d, p) in enumerate(rows):
            hidden[i, : len(d)] = torch.from_numpy(h.astype(np.float32))
            mask[i, : len(d)] = True
            ids[i, : len(d)] = torch.from_numpy(d)
            prosody[i, : len(d)] = torch.from_numpy(p)
        return [hidden, mask, ids, prosody]


def losses(
    logits: Tensor, prosody: Tensor, ids: Tensor, target: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """The content losses, each a mean over the frames that it concerns."""
    voiced = (target[..., 1] > 0.5) & mask
    return {
        "phones": F.cross_entropy(logits.flatten(0, 1).float(), ids.flatten(), ignore_index=-100),
        "pitch": (prosody[..., 0] - target[..., 0]).abs()[voiced].mean(),
        "voicing": F.binary_cross_entropy_with_logits(prosody[..., 1], target[..., 1])
        if mask.all()
        else F.binary_cross_entropy_with_logits(prosody[..., 1][mask], target[..., 1][mask]),
        "energy": (prosody[..., 2] - target[..., 2]).abs()[mask].mean(),
    }


WEIGHTS = {"phones": 1.0, "pitch": 4.0, "voicing": 0.5, "energy": 1.0, "commit": 0.25}


def train_content(
    folder: Path,
    out: Path,
    encoder: ContentEncoder,
    config: ContentTraining,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[ContentEncoder, Quantiser, Readout]:
    """Train on a store with `hidden.f16`, `f0.f16` and `labels.jsonl`; resumes from `out`."""
    torch.manual_seed(config.seed)  # initial weights only
    quantiser, readout = Quantiser(config.model), Readout(config.model)
    run = Run(out, {"content": encoder, "quantiser": quantiser, "readout": readout})
    top = [p for b in encoder.blocks[config.model.frozen_layers :] for p in b.parameters()]
    fresh = [*quantiser.parameters(), *readout.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": [*top, *encoder.norm.parameters()], "scale": 0.3}, {"params": fresh, "scale": 1.0}],
        lr=config.rate, betas=(0.9, 0.98), weight_decay=0.01,
    )  # fmt: skip
    run.resume(optimizer)
    frames = Frames(folder, config.model.width)
    entries = [e for e in frames.store.entries if e.split == "train"]
    known = [e for e in entries if e.name in frames.labels]
    other = [e for e in entries if e.name not in frames.labels]
    generator = torch.Generator().manual_seed(config.seed)
    while run.step < config.steps:
        rng = np.random.default_rng((config.seed, run.step))
        share = config.batch_clips // 5 if other else 0
        chosen = [known[i] for i in rng.integers(len(known), size=config.batch_clips - share)]
        chosen += [other[i] for i in rng.integers(len(other), size=share)] if other else []
        batch = frames.batch(chosen, config.crop_frames, rng)
        quantiser.bypass = run.step < config.free_steps
        parts, vectors = _forward(encoder, quantiser, readout, batch)
        if run.step == config.free_steps:
            quantiser.start(vectors, 10, generator)
        loss = sum((WEIGHTS[k] * v for k, v in parts.items()), torch.zeros(()))
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * warm(run.step, config.steps, config.rate)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*top, *fresh], 1.0)
        optimizer.step()
        if run.step >= config.free_steps:
            quantiser.learn(vectors, 0.97, generator)
        run.step += 1
        if run.step % 20 == 0:
            used = float((quantiser.usage > 0.1).float().mean())
            run.log(**parts, used=used)
            say(f"{run.step} " + " ".join(f"{k} {float(v):.3f}" for k, v in parts.items()))
        if run.step % 100 == 0:
            run.save(optimizer)
    run.save(optimizer)
    quantiser.bypass = False
    return encoder, quantiser, readout


def _forward(
    encoder: ContentEncoder, quantiser: Quantiser, readout: Readout, batch: list[Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    hidden, mask, ids, target = batch
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder.top(hidden, mask[:, None, None])
        vectors, _, z = quantiser(features)
        logits, prosody = readout(vectors)
    parts = losses(logits, prosody.float(), ids, target, mask)
    pairs = mask[:, ::2]
    live = z.float()[pairs]
    nearest = quantiser.codebook[quantiser.codes(live)]
    parts["commit"] = (live - nearest).square().mean() * (not quantiser.bypass)
    return parts, live.detach()


@torch.inference_mode()
def write_tokens(folder: Path, encoder: ContentEncoder, quantiser: Quantiser) -> None:
    """Write `tokens.i16`: one code every 960 samples."""
    store = Store(folder)
    hidden = store.array("hidden.f16", "float16", FRAME, encoder.config.width)
    tokens = store.create("tokens.i16", "int16", 960)
    for entry in store.entries:
        count = entry.samples // FRAME
        rows = hidden[entry.start // FRAME : entry.start // FRAME + count].astype(np.float32)
        padded = F.pad(torch.from_numpy(rows)[None], (0, 0, 0, -count % 50))
        mask = (torch.arange(padded.shape[1]) < count)[None, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder.top(padded, mask)
        codes = quantiser.codes(quantiser.project(features.float()))[0, : count // 2].numpy()
        tokens[entry.start // 960 : entry.start // 960 + len(codes)] = codes
