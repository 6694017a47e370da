"""Random fixed-length segments of a store, with F0, tokens, phonemes and a reference of the same speaker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from voxray.audio import resample
from voxray.models.generator import Generator
from voxray.models.memory import Memory
from voxray.models.posterior_mel import LinearLatents, MelPosterior

from .feed import half
from .label import PEOPLE, TEACHER, UNTOLD, read_labels
from .said import SAID
from .speakers import speaker_targets
from .store import Entry, Store

REFERENCE_SECONDS = 4.0
MEMORY_TOKENS = (50, 250)  # least and most that are remembered of a reference: 2 to 10 s
FORGOTTEN = 0.04  # share of segments that get nothing to remember
APART = 6  # tokens between a segment and what may be remembered of its own clip
LATENTS = "latents.f16"
Item = TypeVar("Item")


class SegmentSize(Protocol):
    """How many segments make a batch, their tokens, and the most phonemes kept."""

    @property
    def batch(self) -> int: ...
    @property
    def segment_tokens(self) -> int: ...
    @property
    def max_phones(self) -> int: ...


@dataclass(frozen=True)
class Size:
    """How large a batch is, where no settings say so."""

    batch: int
    segment_tokens: int
    max_phones: int


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
        wave, size = self.store.audio(_one(pool, rng)), int(REFERENCE_SECONDS * 24_000)
        while len(wave) < size:
            wave = np.concatenate([wave, self.store.audio(_one(pool, rng))])
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


class Aligned(Segments):
    """Segments with their tokens and the phonemes that are spoken in them."""

    def __init__(self, folder: Path, split: str = "train") -> None:
        super().__init__(folder, split)
        self.tokens = self.store.array("tokens.i16", "int16", 960)
        self.labels = read_labels(folder, (UNTOLD, TEACHER, PEOPLE))
        self.entries = [e for e in self.entries if e.name in self.labels]
        people: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if not entry.synthetic:
                people.setdefault(entry.speaker, []).append(entry)
        self.people = list(people.values())
        self.favourites: list[list[Entry]] = []
        self.favoured = 0.0  # share of rows drawn from them
        self.taught = speaker_targets(self.store)
        self.latents: np.ndarray | None = None  # [frames, Z], once something is to be remembered
        known = self.store.whole(SAID, "int16", 960)
        self.said = self.store.array(SAID, "int16", 960) if known else None

    def favour(self, speakers: Sequence[str], share: float) -> None:
        """A share of the rows is drawn from these speakers from now on, each as often as the next; ValueError where the
        store does not hold one of them.
        """
        own = {name: [e for e in self.entries if e.speaker == name] for name in speakers}
        missing = sorted(name for name, entries in own.items() if not entries)
        if missing:
            raise ValueError(f"favourites: the store holds no clip of {', '.join(missing)}")
        self.favourites, self.favoured = list(own.values()), share

    def remember(self, width: int) -> None:
        """Batches hold frames of the reference from now on (`write_latents` comes first)."""
        self.latents = self.store.array(LATENTS, "float16", 480, width)

    def memory(
        self, entry: Entry, at: int, size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [S] and latents [2 S, Z] of the same speaker's speech, 2 to 10 s of it: from other clips, or,
        where there is none, from what the clip holds apart from the segment; maybe nothing.
        """
        assert self.latents is not None
        wanted = int(rng.integers(MEMORY_TOKENS[0], MEMORY_TOKENS[1] + 1))
        pool = [e for e in self.by_speaker[entry.speaker] if e is not entry]
        first, count = entry.start // 960, entry.samples // 960
        spans = [
            (first, max(0, at - APART)),
            (first + at + size + APART, count - at - size - APART),
        ]
        if pool:
            chosen = rng.permutation(len(pool))[:8]
            spans = [(pool[i].start // 960, pool[i].samples // 960) for i in chosen]
        tokens, latents, left = [], [], wanted
        if rng.random() < FORGOTTEN:
            spans = []
        for begin, length in spans:
            length = min(length, left)
            if length > 0:
                tokens.append(self.tokens[begin : begin + length].astype(np.int64))
                latents.append(self.latents[2 * begin : 2 * (begin + length)])
                left -= length
        if not tokens:
            return np.zeros(0, np.int64), np.zeros((0, self.latents.shape[1]), np.float16)
        return np.concatenate(tokens), np.concatenate(latents)

    def _drawn(self, people: float, rng: np.random.Generator) -> Entry:
        if self.favourites and rng.random() < self.favoured:
            return _one(_one(self.favourites, rng), rng)
        if people and self.people and rng.random() < people:
            return _one(_one(self.people, rng), rng)
        return _one(self.entries, rng)

    def aligned(
        self, config: SegmentSize, rng: np.random.Generator, people: float = 0.0
    ) -> list[Tensor]:
        """wave [B, 960 S], tokens [B, S], ids [B, P], lengths [B], reference [B, M], F0 [B, 4 S] in
        Hz, band [B] as a share of Nyquist, pointer [B, 2 S] to the phoneme of each frame (-1: none),
        what a pretrained encoder says of the speaker [B, E] (E = 0 without one), and tokens to spoil the
        right ones with [B, S]: what the GPT would have said, or, where that is unknown, those of other rows;
        after `remember` also tokens [B, M], latents [B, Z, 2 M] and token counts [B] of a reference.
        A share of `people` of the rows is drawn from people's recordings, each speaker as often as the next.
        """
        return self.rows(islice(self.places(config, rng, people), config.batch), config, rng)

    def places(
        self, config: SegmentSize, rng: np.random.Generator, people: float = 0.0
    ) -> Iterator[tuple[Entry, int]]:
        """Clips and first tokens of segments in which something is said, without end."""
        while True:
            entry = self._drawn(people, rng)
            total = entry.samples // 960
            if total < config.segment_tokens:
                continue
            at = int(rng.integers(0, total - config.segment_tokens + 1))
            if self.speaks(entry, at, config.segment_tokens):
                yield entry, at

    def speaks(self, entry: Entry, at: int, size: int) -> bool:
        """Whether anything is said in a segment."""
        return bool(self._inside(entry, at, size).any())

    def _inside(self, entry: Entry, at: int, size: int) -> np.ndarray:
        """Which of a clip's phonemes are heard in a segment [P]."""
        spans = self.labels[entry.name].spans
        return (spans[:, 1] > 2 * at) & (spans[:, 0] < 2 * (at + size))

    def rows(
        self, places: Iterable[tuple[Entry, int]], config: SegmentSize, rng: np.random.Generator
    ) -> list[Tensor]:
        """A batch, as `aligned` gives it, of these clips' segments, by their first tokens."""
        size = config.segment_tokens
        waves, tokens, texts, references, pitches, bands, pointers = [], [], [], [], [], [], []
        speakers, said, memories = [], [], []
        for entry, at in places:
            label, inside = self.labels[entry.name], self._inside(entry, at, size)
            ids = label.ids[inside][: config.max_phones]
            pointers.append(_pointer(label.spans[inside][: config.max_phones] - 2 * at, 2 * size))
            first = entry.start // 960 + at
            waves.append(self.store.wave[first * 960 : (first + size) * 960] / np.float32(32768))
            tokens.append(self.tokens[first : first + size].astype(np.int64))
            if self.said is not None:
                said.append(self.said[first : first + size].astype(np.int64))
            texts.append(ids)
            references.append(self.reference(entry, rng))
            if self.latents is not None:
                memories.append(self.memory(entry, at, size, rng))
            pitches.append(self.f0[first * 4 : (first + size) * 4].astype(np.float32))
            bands.append(min(1.0, entry.band_hz * 0.95 / 12_000))
            speakers.append(self.taught.get(entry.speaker, np.zeros(0, np.float32)))
        padded = torch.zeros(len(waves), config.max_phones, dtype=torch.long)
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
            torch.from_numpy(np.stack(pointers)),
            torch.from_numpy(np.stack(speakers)),
            torch.from_numpy(np.stack(said) if said else np.roll(tokens, (1, 7), (0, 1))),
            *(_padded(memories) if memories else ()),
        ]


def _padded(memories: list[tuple[np.ndarray, np.ndarray]]) -> list[Tensor]:
    """Tokens [B, M], latents [B, Z, 2 M] and counts [B] of references of up to `MEMORY_TOKENS`."""
    most, width = MEMORY_TOKENS[1], memories[0][1].shape[1]
    tokens = torch.zeros(len(memories), most, dtype=torch.long)
    latents = torch.zeros(len(memories), width, 2 * most)
    for row, (ids, frames) in enumerate(memories):
        tokens[row, : len(ids)] = torch.from_numpy(ids)
        latents[row, :, : len(frames)] = torch.from_numpy(frames.T.astype(np.float32))
    return [tokens, latents, torch.tensor([len(ids) for ids, _ in memories])]


def memory_of(batch: list[Tensor]) -> Memory | None:
    """The reference's frames of a batch, if it holds any."""
    return Memory(*batch[10:13]) if len(batch) > 10 else None


@torch.no_grad()
def write_latents(folder: Path, hearing: LinearLatents) -> None:
    """Write `latents.f16` of a store: what is heard of every frame without the posterior's network, [frames, Z]."""
    store = Store(folder)
    f0 = store.array("f0.f16", "float16", 240)
    width = hearing.config.latent_channels
    with store.fill(LATENTS, "float16", 480, width) as latents:
        for entry in store.entries:
            first, frames = entry.start // 480, entry.samples // 480
            pitch = f0[2 * first : 2 * (first + frames)].astype(np.float32)
            wave = torch.from_numpy(store.audio(entry))[None]
            heard = hearing.linear(wave, torch.from_numpy(pitch)[None])[0]  # [Z, T]
            latents[first : first + frames] = heard.t().numpy()


def _one(pool: Sequence[Item], rng: np.random.Generator) -> Item:
    return pool[int(rng.integers(len(pool)))]


def _pointer(spans: np.ndarray, frames: int) -> np.ndarray:
    """Spans [P, 2] in frames -> the phoneme of each frame [T], -1 where there is none."""
    path = np.full(frames, -1, dtype=np.int64)
    for index, (start, end) in enumerate(spans.clip(0, frames)):
        path[start:end] = index
    return path


def spoilt(tokens: Tensor, others: Tensor, share: float, dice: torch.Generator | None) -> Tensor:
    """Tokens [B, S] with about `share` of them replaced in runs of four on average by `others` [B, S]; every
    fourth row stays whole.
    """
    count, length = tokens.shape
    at = tokens.device
    begins = torch.rand(count, length, generator=dice, device=at) < share / 4
    goes_on = torch.rand(count, length, generator=dice, device=at) < 0.75
    wrong, state = torch.zeros_like(begins), torch.zeros(count, dtype=torch.bool, device=at)
    for step in range(length):
        state = begins[:, step] | (state & goes_on[:, step])
        wrong[:, step] = state
    wrong &= torch.rand(count, 1, generator=dice, device=at) >= 0.25
    return torch.where(wrong, others, tokens)


def sample_latents(
    model: Generator, wave: Tensor, f0: Tensor, dice: torch.Generator | None, moved: bool = False
) -> tuple[Tensor, Tensor]:
    """A draw from the posterior and its log-std, [B, Z, T] each; `moved`: with its network."""
    if not isinstance(model.posterior, MelPosterior):
        raise ValueError("training needs the posterior encoder `MelPosterior`")
    with half(wave.device):
        mean, log_std = model.posterior(wave, f0, moved)
    noise = torch.randn(mean.shape, generator=dice, device=mean.device)
    return mean + noise * log_std.exp(), log_std
