"""`voxray train content`: the upper half of the content encoder, the quantiser and the readout.

The lower blocks are frozen and their output is cached once (`hidden.f16`, 50 Hz). The loss: frame
cross-entropy of phonemes (where labelled), F0 relative to the clip's median in octaves, voicing,
energy, commitment. Codes are quantised after `free_steps`, from a k-means start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from voxray.audio import resample
from voxray.config import ContentConfig
from voxray.text.symbols import SYMBOL_TO_ID
from voxray.tokens.content import ContentEncoder, Readout
from voxray.tokens.quantiser import Quantiser

from .feed import Feed, half, place
from .label import FRAME, PEOPLE, Label, check_stamp, levels, read_labels
from .run import Run, Say, Schedule, Task, fit, silent
from .store import Entry, Store

SILENCE = SYMBOL_TO_ID["SP"]
PAUSE_IDS = [SYMBOL_TO_ID[s] for s in (",", ".", "!", "?", "-", "…", "SP", "SP2", "SP3")]
BUCKET, TOGETHER = 16_000, 8  # samples, clips
QUIET_DB = 38.0  # below the clip's loudest frame: labelled silence whatever the text says


class ContentTraining(Schedule):
    """Settings of a content run."""

    model: ContentConfig = ContentConfig()
    steps: int = 600
    batch_clips: int = 10
    crop_frames: int = 200
    rate: float = 6e-4
    save_every: int = 50
    ema: float = 0.0  # the codebook has an average of its own
    free_steps: int = 60  # steps before the quantiser starts
    top_scale: float = 0.3  # rate of the warm-started blocks, against fresh ones


def cache_hidden(
    folder: Path,
    encoder: ContentEncoder,
    progress: Callable[[int, int], None] | None = None,
    config: ContentTraining | None = None,
) -> None:
    """Write `hidden.f16` [total frames, D]: the frozen trunk's output for every clip."""
    store, config = Store(folder), config or ContentTraining()
    device = next(encoder.parameters()).device
    entries = sorted(store.entries, key=lambda e: e.samples)

    def make(number: int) -> list[Tensor]:
        waves = [
            torch.from_numpy(resample(store.audio(e), 24_000, 16_000))
            for e in entries[number * TOGETHER : (number + 1) * TOGETHER]
        ]
        longest = max((len(w) for w in waves), default=1)
        longest += -longest % BUCKET  # few shapes: kernels are built per shape
        padded = [F.pad(w, (0, longest - len(w))) for w in waves]
        return [torch.stack(padded)] if padded else []

    feed = Feed(make, config, device)
    with store.fill("hidden.f16", "float16", FRAME, config.model.width) as hidden:
        for number in range(-(-len(entries) // TOGETHER)):
            part = entries[number * TOGETHER : (number + 1) * TOGETHER]
            counts = [e.samples // FRAME for e in part]
            (waves,) = feed(number)
            frame = torch.arange(waves.shape[1] // 320, device=device)
            mask = frame < torch.tensor(counts, device=device)[:, None]
            with torch.inference_mode(), half(device):
                rows = encoder.trunk(encoder.mel(waves), mask[:, None, None]).float().cpu().numpy()
            for entry, count, row in zip(part, counts, rows, strict=True):
                hidden[entry.start // FRAME : entry.start // FRAME + count] = row[:count]
            if progress:
                progress(min((number + 1) * TOGETHER, len(entries)), len(entries))


class Frames:
    """Per-frame targets of a store at 50 Hz, cut and padded into batches.

    Phoneme times are the exact ones, and those that an earlier alignment found.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.store = Store(folder)
        self.exact = read_labels(folder)
        self.labels = {**read_labels(folder, (PEOPLE,)), **self.exact}
        self.hidden = self.store.array("hidden.f16", "float16", FRAME, width)
        self.f0 = self.store.array("f0.f16", "float16", 240)

    def targets(self, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
        """Phoneme ids [T] (-100 where unknown) and (octaves, voiced, energy) [T, 3]."""
        count = entry.samples // FRAME
        level = levels(self.store, entry)
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
        hidden = torch.zeros(len(rows), longest, self.hidden.shape[1], dtype=torch.float16)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        ids = torch.full((len(rows), longest), -100)
        prosody = torch.zeros(len(rows), longest, 3)
        for i, (h, d, p) in enumerate(rows):
            hidden[i, : len(d)] = torch.from_numpy(np.array(h))
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
    folder: Path, out: Path, encoder: ContentEncoder, config: ContentTraining, say: Say = silent
) -> tuple[ContentEncoder, Quantiser, Readout]:
    """Train on a store with `hidden.f16`, `f0.f16` and `labels.jsonl`; resumes from `out`."""
    check_stamp(folder)
    torch.manual_seed(config.seed)  # initial weights only
    quantiser, readout = Quantiser(config.model), Readout(config.model)
    run = Run(out, {"content": encoder, "quantiser": quantiser, "readout": readout})
    top = [p for b in encoder.blocks[config.model.frozen_layers :] for p in b.parameters()]
    fresh = [*quantiser.parameters(), *readout.parameters()]
    clips = Clips(Frames(folder, config.model.width), config)
    device = place(config)
    for module in (encoder, quantiser, readout):
        module.to(device)
    feed = Feed(clips.batch, config, device)
    generator = torch.Generator().manual_seed(config.seed)
    last: list[Tensor] = []

    def before(step: int) -> None:
        quantiser.bypass = step < config.free_steps
        if step == config.free_steps:
            rows: list[Tensor] = []
            while sum(map(len, rows)) < 4 * len(quantiser.codebook):  # four vectors to a code
                with torch.no_grad():
                    batch = feed.moved(clips.batch(step + len(rows)))
                    rows.append(_forward(encoder, quantiser, readout, batch)[1])
            quantiser.start(torch.cat(rows), 10, generator)

    def losses(number: int) -> dict[str, Tensor]:
        parts, vectors = _forward(encoder, quantiser, readout, feed(number))
        last[:] = [vectors]
        return {**parts, "used": (quantiser.usage > 0.1).float().mean()}

    def after(step: int) -> None:
        if step >= config.free_steps:
            quantiser.learn(last[0], 0.97, generator)

    groups = [
        {"params": [*top, *encoder.norm.parameters()], "scale": config.top_scale},
        {"params": fresh},
    ]
    fit(run, Task(groups, losses, WEIGHTS, before=before, after=after), config, say)
    quantiser.bypass = False
    return encoder, quantiser, readout


class Clips:
    """Batches for the content encoder: mostly labelled clips, some that are not."""

    def __init__(self, frames: Frames, config: ContentTraining) -> None:
        self.frames, self.config = frames, config
        entries = [e for e in frames.store.entries if e.split == "train"]
        self.known = [e for e in entries if e.name in frames.labels]
        self.other = [e for e in entries if e.name not in frames.labels]

    def batch(self, number: int) -> list[Tensor]:
        """As `Frames.batch`; the same for the same number."""
        config, rng = self.config, np.random.default_rng((self.config.seed, number))
        share = config.batch_clips // 5 if self.other else 0
        chosen = [
            self.known[i] for i in rng.integers(len(self.known), size=config.batch_clips - share)
        ]
        if share:
            chosen += [self.other[i] for i in rng.integers(len(self.other), size=share)]
        return self.frames.batch(chosen, config.crop_frames, rng)


def _forward(
    encoder: ContentEncoder, quantiser: Quantiser, readout: Readout, batch: list[Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    hidden, mask, ids, target = batch
    kernels = [SDPBackend.MATH]  # on a CPU its backward is the faster
    if hidden.is_cuda:
        kernels += [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION]
    with half(hidden.device), sdpa_kernel(kernels):
        features = encoder.top(hidden.float(), mask[:, None, None])
        vectors, _, z = quantiser(features)
        logits, prosody = readout(vectors)
    parts = losses(logits, prosody.float(), ids, target, mask)
    pairs = mask[:, ::2]
    live = z.float()[pairs]
    nearest = quantiser.codebook[quantiser.codes(live)]
    parts["commit"] = (live - nearest).square().mean() * (not quantiser.bypass)
    return parts, live.detach()


def _batched(
    frames: Frames, encoder: ContentEncoder, size: int = 16
) -> Iterator[tuple[list[Entry], Tensor]]:
    """Clips of like length together, and their features [B, T, D]; no gradient."""
    entries = sorted(frames.store.entries, key=lambda e: e.samples)
    for begin in range(0, len(entries), size):
        part = entries[begin : begin + size]
        counts = [e.samples // FRAME for e in part]
        hidden = torch.zeros(len(part), -(-max(counts) // 50) * 50, frames.hidden.shape[1])
        mask = torch.zeros(hidden.shape[:2], dtype=torch.bool)
        for i, (entry, count) in enumerate(zip(part, counts, strict=True)):
            first = entry.start // FRAME
            rows = frames.hidden[first : first + count].astype(np.float32)
            hidden[i, :count], mask[i, :count] = torch.from_numpy(rows), True
        device = next(encoder.parameters()).device
        with torch.no_grad(), half(device):
            features = encoder.top(hidden.to(device), mask[:, None, None].to(device))
        yield part, features  # outside: what the reader does keeps its own precision


def write_tokens(
    frames: Frames, encoder: ContentEncoder, quantiser: Quantiser, readout: Readout
) -> dict[str, np.ndarray]:
    """Write `tokens.i16`, one code every 960 samples, and `codebook.npy`.

    Returns the log-probabilities of phonemes [T, symbols] at 50 Hz, as read from the codes, of the
    clips that have no exact times.
    """
    known: dict[str, np.ndarray] = {}
    with frames.store.fill("tokens.i16", "int16", 960) as tokens, torch.no_grad():
        for entries, features in _batched(frames, encoder):
            codes = quantiser.codes(quantiser.project(features.float()))
            for entry, row in zip(entries, codes.cpu().numpy(), strict=True):
                count = entry.samples // 960
                tokens[entry.start // 960 : entry.start // 960 + count] = row[:count]
            asked = [i for i, e in enumerate(entries) if e.name not in frames.exact]
            if asked:
                logits = readout(quantiser.embed(codes[asked]))[0].float().log_softmax(-1)
                for i, scores in zip(asked, logits.cpu().numpy(), strict=True):
                    known[entries[i].name] = scores[: entries[i].samples // FRAME].copy()
    np.save(frames.store.folder / "codebook.npy", quantiser.codebook.cpu().numpy())
    return known
