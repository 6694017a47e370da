"""What a pretrained speaker encoder says of a corpus's speakers: the teacher of `mini`'s own encoder.

GE2E (Wan et al. 2018, arXiv 1710.10467): 40 mel powers every 10 ms, windows of 1.6 s, three LSTM layers,
one vector of length 1. Its weights are those of the package resemblyzer (Apache-2.0, `pretrained.pt`);
whoever learns from it must not be judged by it. `speakers.npy` [clips, 256] holds one vector a clip.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.audio import mel_filterbank, resample

from .feed import Feed, place
from .run import Schedule
from .store import Store

RATE, N_FFT, HOP, MELS, WIDTH = 16_000, 400, 160, 40, 256
WINDOW, EVERY = 160, 80  # frames of one partial utterance, and between the beginnings of two
LEVEL_DB = -30.0
SPEAKERS = "speakers.npy"
STARTS = (
    b"PK",
    bytes.fromhex("80028a0a6cfc9c46f9206aa85019"),
)  # of files that torch wrote: new, old


class SpeakerTeacher(nn.Module):
    """Wave [B, N] at 16 kHz, at least 1.6 s -> unit vectors [B, 256]."""

    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("bank", mel_filterbank(RATE, N_FFT, MELS), persistent=False)

    @classmethod
    def load(cls, path: Path) -> SpeakerTeacher:
        """From resemblyzer's `pretrained.pt`; ValueError where the file is another."""
        with path.open("rb") as file:
            if not file.read(16).startswith(STARTS):
                raise ValueError(f"{path} is not the speaker encoder of resemblyzer")
        raw = torch.load(path, map_location="cpu", weights_only=True)
        state = raw.get("model_state", {}) if isinstance(raw, dict) else {}
        teacher = cls()
        known = {k: v for k, v in state.items() if k.startswith(("lstm.", "linear."))}
        if known.keys() != teacher.state_dict().keys():
            raise ValueError(f"{path} is not the speaker encoder of resemblyzer")
        teacher.load_state_dict(known)
        return teacher.eval()

    def forward(self, wave: Tensor) -> Tensor:
        level = wave.square().mean(1, keepdim=True).clamp_min(1e-10).sqrt()
        wave = wave * (10 ** (LEVEL_DB / 20) / level).clamp_min(1.0)
        window = torch.hann_window(N_FFT, device=wave.device)
        bins = torch.stft(wave, N_FFT, HOP, window=window, return_complex=True, pad_mode="constant")
        mel = (self.bank @ bins.abs().square()).transpose(1, 2)  # [B, T, 40]
        count = max(1, 1 + (mel.shape[1] - WINDOW) // EVERY)
        parts = [mel[:, k * EVERY : k * EVERY + WINDOW] for k in range(count)]
        _, (hidden, _) = self.lstm(torch.cat(parts))
        vectors = F.normalize(self.linear(hidden[-1]).relu(), dim=1)
        return F.normalize(vectors.unflatten(0, (count, -1)).mean(0), dim=1)


def embed_speakers(folder: Path, weights: Path, config: Schedule) -> None:
    """Write `speakers.npy` of a store."""
    store, device = Store(folder), place(config)
    teacher = SpeakerTeacher.load(weights).to(device)
    order = sorted(range(len(store.entries)), key=lambda i: store.entries[i].samples)
    size, vectors = 32, np.zeros((len(order), WIDTH), dtype=np.float32)

    def make(number: int) -> list[Tensor]:
        part = [store.entries[i] for i in order[number * size : (number + 1) * size]]
        if not part:
            return []
        waves = [resample(store.audio(e), 24_000, RATE) for e in part]
        shortest = max(WINDOW * HOP, min(len(w) for w in waves))
        tiled = [np.tile(w, -(-shortest // len(w)))[:shortest] for w in waves]
        return [torch.from_numpy(np.stack(tiled))]

    feed = Feed(make, config, device)
    for number in range(-(-len(order) // size)):
        (waves,) = feed(number)
        with torch.inference_mode():
            made = teacher(waves).cpu().numpy()
        vectors[order[number * size : (number + 1) * size]] = made
    beside = folder / f"{SPEAKERS}.part"
    with beside.open("wb") as file:
        np.save(file, vectors)
    beside.replace(folder / SPEAKERS)


def speaker_targets(store: Store) -> dict[str, np.ndarray]:
    """The mean unit vector [256] of each speaker's clips; empty without `speakers.npy`."""
    path = store.folder / SPEAKERS
    if not path.exists():
        return {}
    vectors, sums = np.load(path), {}
    if len(vectors) != len(store.entries):
        raise ValueError(
            f"{path} is of another corpus: {len(vectors)} rows for {len(store.entries)} clips"
        )
    for entry, vector in zip(store.entries, vectors, strict=True):
        sums[entry.speaker] = sums.get(entry.speaker, 0.0) + vector
    return {
        name: (v / max(1e-6, float(np.linalg.norm(v)))).astype(np.float32)
        for name, v in sums.items()
    }
