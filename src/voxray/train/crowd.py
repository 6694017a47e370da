"""Takes of many sentences at once, on one device: said, sounded and listened to in batches (`train clarity` on a GPU).

In: lines (`crowd_tokens.Line`), each to be said several times by one voice; out: of each take its tokens, the phoneme of
each, the log odds of its spoken phonemes and whether it is whole. What `takes_of_many` gives with other dice
(hundreds of takes a second on a GPU, where the pipeline makes three on two cores), only that a fault of the watch is not drawn again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from voxray.bundle import Bundle
from voxray.models.generator import Generator
from voxray.models.gpt import GPT
from voxray.models.layers import fuse_weight_norm
from voxray.options import SynthesisOptions
from voxray.tokens.content import ContentEncoder
from voxray.tokens.phones import PhoneTable

from .crowd_sound import Group, Timbre, Voices, codes_heard, odds_heard, sounded
from .crowd_tokens import Drawn, Line, TokenCrowd, padded, whole

SAMPLED = 1024  # rows whose tokens are made together
ROUND = 16  # lengths are multiples of it: fewer shapes for the libraries to plan


@dataclass(frozen=True)
class Take:
    """One take: tokens [S], the phoneme of each [S], log odds of the spoken phonemes [Q], whether it is whole."""

    tokens: list[int]
    path: list[int]
    odds: NDArray[np.float32]
    whole: bool


class Clock:
    """Seconds spent on each kind of work since the last `taken`; waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, work: str) -> Iterator[None]:
        """Count the time of a block."""
        began = self.now()
        yield
        self.seconds[work] = self.seconds.get(work, 0.0) + self.now() - began

    def now(self) -> float:
        """Once all that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def taken(self) -> dict[str, float]:
        """What was counted; counting begins again."""
        seconds, self.seconds = self.seconds, {}
        return seconds


@contextmanager
def products(precision: str, device: torch.device) -> Iterator[None]:
    """How exactly a GPU multiplies float32 matrices; elsewhere nothing changes."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Crowd:
    """A GPT that goes on learning, and the rest of its model, which is moved to the GPT's device and kept."""

    def __init__(
        self, models: Bundle, gpt: GPT, timbres: Mapping[str, Timbre], clock: Clock, sounded: int
    ) -> None:
        generator, content = models.generator, models.content
        if not isinstance(generator, Generator) or not isinstance(content, ContentEncoder):
            raise ValueError(f"the model {models.name!r} cannot speak and listen in a crowd")
        assert models.phones is not None
        self.device = device = gpt.head.weight.device
        self.clock, self.sounded = clock, sounded
        fuse_weight_norm(generator)
        self.generator = generator.to(device).eval()
        self.content = content.to(device).eval()
        self.quantiser = models.quantiser.to(device).eval()
        table = models.phones
        self.phones = PhoneTable(table.phones.to(device), table.odds.to(device))
        self.voices = Voices(timbres, device)
        options = SynthesisOptions(style=False).suited(models.config)
        self.draws = TokenCrowd(gpt, options)
        self.watch = self.draws.watch

    def say(self, lines: Sequence[Line], takes: int, seed: int) -> list[list[Take]]:
        """Every line so many times."""
        rows = [line for line in lines for _ in range(takes)]
        dice = torch.Generator(self.device).manual_seed(seed)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
        said: dict[int, Take] = {}
        for begin in range(0, len(rows), SAMPLED):
            part = order[begin : begin + SAMPLED]
            said.update(zip(part, self._part([rows[row] for row in part], dice), strict=True))
        return [[said[n * takes + take] for take in range(takes)] for n in range(len(lines))]

    def _part(self, lines: Sequence[Line], dice: torch.Generator) -> list[Take]:
        """One take of each line."""
        with self.clock.on("sampling"):
            drawn = self.draws(lines, dice)
            counts: list[int] = drawn.counts.tolist()
            tokens, paths = drawn.tokens.tolist(), drawn.path.tolist()
        heard: dict[int, NDArray[np.float32]] = {}
        order = sorted(range(len(lines)), key=lambda row: counts[row])
        order = [row for row in order if counts[row]]
        with products("highest", self.device):
            for begin in range(0, len(order), self.sounded):
                rows = order[begin : begin + self.sounded]
                odds = self._heard([lines[row] for row in rows], drawn, rows, dice)
                heard.update(zip(rows, odds, strict=True))
        cut, nothing = drawn.cut.tolist(), np.zeros(0, np.float32)
        said = []
        for row, line in enumerate(lines):
            path = paths[row][: counts[row]]
            sound = bool(path) and not cut[row] and whole(line.words, path, self.watch)
            odds = heard[row][line.spoken] if row in heard else nothing
            said.append(Take(tokens[row][: counts[row]], path, odds, sound))
        return said

    def _heard(
        self, lines: Sequence[Line], drawn: Drawn, rows: list[int], dice: torch.Generator
    ) -> NDArray[np.float32]:
        """Log odds [B, P] of the phonemes of some rows that were drawn."""
        group = self._group(lines, drawn, rows)
        config = self.generator.config

        def noise(frames: int) -> Tensor:
            shape = len(rows), config.noise_channels, frames
            return torch.randn(shape, generator=dice, device=self.device)

        with self.clock.on("sounding"):
            wave = sounded(self.generator, self.voices, group, noise)
        with self.clock.on("hearing"):
            if not bool(wave.isfinite().all()):
                raise ValueError("the generator returned NaN: the model's weights are damaged")
            rate = config.sample_rate
            codes = codes_heard(self.content, self.quantiser, wave, rate, group.counts)
            return odds_heard(self.phones, codes, group).cpu().numpy()

    def _group(self, lines: Sequence[Line], drawn: Drawn, rows: list[int]) -> Group:
        index = torch.tensor(rows, device=self.device)
        counts = drawn.counts[index]
        longest = -(-int(counts.max()) // ROUND) * ROUND
        made = [part[index, :longest] for part in (drawn.tokens, drawn.path)]  # 2 x [B, <= S]
        missing = longest - made[0].shape[1]
        tokens, path = (F.pad(x, (0, missing), value=-1) for x in made)
        others = [
            padded([line.ids for line in lines], multiple=ROUND),
            torch.tensor([len(line.ids) for line in lines]),
            torch.tensor([self.voices.number[line.voice] for line in lines]),
        ]
        ids, lengths, voice = (x.to(self.device) for x in others)
        return Group(tokens.clamp_min(0), path, counts, ids, lengths, voice)
