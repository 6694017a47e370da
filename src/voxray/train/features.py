"""What a model hears in every clip of a store, in one pass on one device: tokens, latents, speakers.

Clips of equal length are heard side by side, so that nothing is padded and a batch is what its clips are alone. Files:
`tokens.i16` [tokens] with `codebook.npy`, `latents.f16` [frames, Z] of models that look up a reference, and with a
pretrained encoder `speakers.npy` [clips, 256] (`speakers.py`). The lower rate is made by Fourier transform here and by a
filter when speaking: some tokens at a clip's edges differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxray.models.posterior_mel import LinearLatents
from voxray.tokens.content import ContentEncoder, Readout
from voxray.tokens.quantiser import Quantiser

from .label import FRAME, read_labels
from .listening import lowered
from .segments import LATENTS
from .speakers import HOP, SPEAKERS, WIDTH, WINDOW, SpeakerTeacher
from .store import TOKEN, Entry, Store

TOGETHER, ON_GPU = 20.0, 240.0  # seconds heard side by side


@dataclass(frozen=True)
class Ears:
    """Who listens; all on one device, standing still."""

    content: ContentEncoder
    quantiser: Quantiser
    readout: Readout
    hearing: LinearLatents | None = None  # latents of a reference
    teacher: SpeakerTeacher | None = None


@torch.inference_mode()
def write_features(folder: Path, ears: Ears, together: float = TOGETHER) -> dict[str, np.ndarray]:
    """Write the files; returns the log-probabilities of phonemes [T, symbols] at 50 Hz, as read from the codes, of the
    clips that have no exact times.
    """
    store, exact = Store(folder), read_labels(folder)
    f0 = store.array("f0.f16", "float16", 240)
    device = ears.quantiser.codebook.device
    number = {entry.name: place for place, entry in enumerate(store.entries)}
    width = 0 if ears.hearing is None else ears.hearing.config.latent_channels
    latents = np.zeros((store.total // FRAME, width), np.float16)
    tokens = np.zeros(store.total // TOKEN, np.int16)
    speakers = np.zeros((len(store.entries), WIDTH), np.float32)
    known: dict[str, np.ndarray] = {}
    for entries in alike(store, together):
        wave = torch.from_numpy(np.stack([store.audio(e) for e in entries])).to(device)
        low = lowered(wave)
        codes = ears.quantiser.codes(ears.quantiser.project(ears.content(low)))  # [B, S]
        asked = [row for row, entry in enumerate(entries) if entry.name not in exact]
        scores = _said(ears, codes[asked]) if asked else np.zeros(0)
        known.update(zip((entries[row].name for row in asked), scores, strict=True))
        for entry, row in zip(entries, codes.cpu().numpy(), strict=True):
            first = entry.start // TOKEN
            tokens[first : first + entry.samples // TOKEN] = row[: entry.samples // TOKEN]
        if ears.hearing is not None:
            heights = np.stack([f0[e.start // 240 :][: e.samples // 240] for e in entries])
            pitch = torch.from_numpy(heights.astype(np.float32)).to(device)
            heard = ears.hearing.linear(wave, pitch).transpose(1, 2).cpu().numpy()  # [B, T, Z]
            for entry, row in zip(entries, heard, strict=True):
                latents[entry.start // FRAME :][: len(row)] = row
        if ears.teacher is not None:
            speakers[[number[e.name] for e in entries]] = _voices(ears.teacher, low)
    _keep(store, tokens, latents, None if ears.teacher is None else speakers)
    np.save(folder / "codebook.npy", ears.quantiser.codebook.cpu().numpy())
    return known


def alike(store: Store, together: float) -> Iterator[list[Entry]]:
    """Clips of equal length, at most so many seconds of them."""
    entries = sorted(store.entries, key=lambda entry: entry.samples)
    for samples, group in groupby(entries, key=lambda entry: entry.samples):
        size, same = max(1, int(together * 24_000 / samples)), list(group)
        for begin in range(0, len(same), size):
            yield same[begin : begin + size]


def _said(ears: Ears, codes: Tensor) -> np.ndarray:
    """Log-probabilities of phonemes [B, T, symbols] of codes [B, S]."""
    logits = ears.readout(ears.quantiser.embed(codes))[0]
    return logits.float().log_softmax(-1).cpu().numpy()


def _voices(teacher: SpeakerTeacher, low: Tensor) -> np.ndarray:
    """Vectors [B, 256] of waves [B, N] at 16 kHz; short ones are repeated."""
    least = WINDOW * HOP
    if low.shape[1] < least:
        low = low.repeat(1, -(-least // low.shape[1]))[:, :least]
    return teacher(low).cpu().numpy()


def _keep(
    store: Store, tokens: np.ndarray, latents: np.ndarray, speakers: np.ndarray | None
) -> None:
    with store.fill("tokens.i16", "int16", TOKEN) as file:
        file[:] = tokens
    if latents.shape[1]:
        with store.fill(LATENTS, "float16", FRAME, latents.shape[1]) as file:
            file[:] = latents
    if speakers is not None:
        beside = store.folder / f"{SPEAKERS}.part"
        with beside.open("wb") as file:
            np.save(file, speakers)
        beside.replace(store.folder / SPEAKERS)
