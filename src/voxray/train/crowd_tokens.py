"""The tokens of many sentences at once, on one device: what `TokenDecoder` makes one by one, without drawing again.

In: lines, each the phonemes of a sentence and their words; out: tokens and the phoneme of each [B, S]. All lines are read
in one padded pass and then stepped together, one token each; those that have ended are taken out now and then.
The watch is done in tensors: a window around a pointer for each row, the middle of the mass in it moves the pointer, the
end is allowed at the last phonemes. A phoneme held too long moves on by one (`Watch.nudge`); what else
the watch would say is asked afterwards (`whole`). Nothing here asks the device for a number except `Draw._thinned`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voxray.models.attention import KVCache
from voxray.models.gpt import GPT
from voxray.options import SynthesisOptions
from voxray.sampling import NEVER, SamplingOptions
from voxray.sites import attached, sites
from voxray.watch import PAUSE, SHUT, Watch, WatchOptions

ASKED = 8  # steps between two looks at who has ended
FULL = 0.75  # share of rows that go on, below which the others are taken out
PACE = 8  # tokens a phoneme at most: half of what `pipeline` allows, and still a fault
SPARE = 25  # tokens beside
NONE = -1  # no token, no phoneme: behind the end

Gumbel = Callable[[int, Tensor], Tensor]  # step and numbers of rows [B] -> noise [B, V]


@dataclass(frozen=True)
class Line:
    """What is said in one breath: phonemes [P], their words [P], and who says it."""

    ids: tuple[int, ...]
    words: tuple[int, ...]
    voice: str = ""

    @property
    def spoken(self) -> list[int]:
        """Places [Q] of the phonemes that belong to a word."""
        return [place for place, word in enumerate(self.words) if word != PAUSE]


@dataclass(frozen=True)
class Drawn:
    """Tokens and the phoneme of each [B, S], NONE behind the end; how many [B], and whether a limit ended them [B]."""

    tokens: Tensor
    path: Tensor
    counts: Tensor
    cut: Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of a batch, [B] each. `closing`: tokens at the last spoken phoneme; `held`: in a row at `said`."""

    number: Tensor
    last: Tensor  # the last spoken phoneme
    zone: Tensor  # from which phoneme on the end is allowed
    limit: Tensor
    length: Tensor
    pointer: Tensor
    said: Tensor  # phoneme of the token before
    closing: Tensor
    held: Tensor
    done: Tensor

    def of(self, keep: Tensor) -> Rows:
        """Some of them."""
        return Rows(*(getattr(self, field.name)[keep] for field in fields(self)))


def rows_of_lines(lines: Sequence[Line], floor: int, watch: WatchOptions, pace: int) -> Rows:
    """At their beginning, on the CPU."""
    spoken = [line.spoken for line in lines]
    sizes = [len(line.ids) for line in lines]
    nothing = torch.zeros(len(lines), dtype=torch.long)
    return Rows(
        number=torch.arange(len(lines)),
        last=torch.tensor([own[-1] for own in spoken]),
        zone=torch.tensor([own[-watch.end_zone :][0] for own in spoken]),
        limit=torch.tensor([floor + SPARE + pace * size for size in sizes]),
        length=torch.tensor(sizes),
        pointer=nothing, said=nothing - 1, closing=nothing, held=nothing, done=nothing.bool(),
    )  # fmt: skip


def padded(rows: Sequence[Sequence[int]], fill: int = 0, multiple: int = 1) -> Tensor:
    """Rows of different lengths as one tensor [B, L], L a multiple."""
    size = -(-max(len(row) for row in rows) // multiple) * multiple
    made = np.full((len(rows), size), fill, np.int64)
    for place, row in enumerate(rows):
        made[place, : len(row)] = row
    return torch.from_numpy(made)


class TokenCrowd:
    """Draws the tokens of many lines with a GPT; `noise` takes the place of the dice."""

    def __init__(
        self, gpt: GPT, options: SynthesisOptions, noise: Gumbel | None = None, pace: int = PACE
    ) -> None:
        if not gpt.config.bos or gpt.config.context_width or options.watch is None:
            raise ValueError(
                "a crowd needs a GPT with a first position (bos) and no context features, and a watch"
            )
        self.gpt, self.options, self.watch = gpt, options, options.watch
        self.noise, self.pace = noise, pace
        self.sites = sites(gpt)

    @torch.inference_mode()
    def __call__(self, lines: Sequence[Line], dice: torch.Generator) -> Drawn:
        """The dice are of the GPT's device."""
        draw = Draw(self, lines, self.noise or _noise(dice, self.gpt.end + 1))
        with attached(self.sites, draw.edits()):
            while draw.go_on():
                draw.step()
        return draw.drawn()


class Draw:
    """One batch on its way."""

    def __init__(self, crowd: TokenCrowd, lines: Sequence[Line], noise: Gumbel) -> None:
        self.gpt, self.options, self.watch, self.noise = (
            crowd.gpt,
            crowd.options,
            crowd.watch,
            noise,
        )
        device = crowd.gpt.head.weight.device
        rows = rows_of_lines(lines, crowd.options.floor, crowd.watch, crowd.pace)
        self.steps = int(rows.limit.max())
        self.rows = Rows(*(getattr(rows, field.name).to(device) for field in fields(rows)))
        self.ids = padded([line.ids for line in lines]).to(device)  # [B, P]
        self.phones = self.ids.shape[1]
        self.limit = self.rows.limit
        made = torch.full((2, self.steps, len(lines)), NONE, device=device)
        self.tokens, self.path = made  # 2 x [S, B]
        self.present = None
        if self.options.repetition_penalty != 1.0:
            shape = len(lines), self.gpt.end + 1
            self.present = torch.zeros(shape, dtype=torch.bool, device=device)
        reach = self.watch.back + self.watch.ahead + 1
        self.near = torch.arange(reach, device=device) - self.watch.back  # of the window
        self.cache: KVCache | None = None
        self.newest = self.rows.pointer
        self.window = self.rows.pointer  # what is shut [B, K], as a bias
        self.seen: list[Tensor] = []
        self.count = 0

    def edits(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The window on the guided heads, and the eye on what they look at."""
        made: dict[str, Callable[[Tensor], Tensor]] = {}
        for layer in sorted({layer for layer, _ in self.gpt.config.guided_heads}):
            heads = [head for at, head in self.gpt.config.guided_heads if at == layer]
            made[f"blocks.{layer}.attn.bias"] = self._shut(heads)
            made[f"blocks.{layer}.attn.pattern"] = self._look(heads)
        return made

    def _shut(self, heads: list[int]) -> Callable[[Tensor], Tensor]:
        def edit(bias: Tensor) -> Tensor:  # [B or 1, H, Q, K]
            bias = bias.expand(len(self.window), -1, -1, -1).clone()
            for head in heads:
                bias[:, head, -1].add_(self.window)
            return bias

        return edit

    def _look(self, heads: list[int]) -> Callable[[Tensor], Tensor]:
        def edit(pattern: Tensor) -> Tensor:  # [B, H, Q, K]
            self.seen.extend(pattern[:, head, -1, : self.phones] for head in heads)
            return pattern

        return edit

    def go_on(self) -> bool:
        """Whether any row is to get another token."""
        if self.count >= self.steps:
            return False
        return bool(self.count % ASKED) or not self.count or self._thinned()

    def _thinned(self) -> bool:
        """Take out the rows that have ended where they are many; whether any is left."""
        keep = (~self.rows.done).nonzero()[:, 0]
        if 0 < len(keep) <= FULL * len(self.rows.done):
            assert self.cache is not None
            self.rows, self.cache = self.rows.of(keep), self.cache.select(keep)
            self.newest = self.newest[keep]
            if self.present is not None:
                self.present = self.present[keep]
        return len(keep) > 0

    def step(self) -> None:
        """One more token for every row; those that have ended are fed anything."""
        logits = self._logits()
        pointer = self._moved(torch.stack(self.seen).mean(0))
        rows, options = self.rows, self.options
        closing = pointer >= rows.last
        late = closing & (rows.closing > self.watch.end_patience)
        may_end = (pointer >= rows.zone) & (self.count >= options.floor)
        noise = self.noise(self.count, rows.number)
        token, ended = chosen(logits, noise, self.present, options, self.gpt.end, may_end)
        done = rows.done | ended | (late & (self.count >= options.floor))
        self.tokens[self.count].index_copy_(0, rows.number, token.masked_fill(done, NONE))
        self.path[self.count].index_copy_(0, rows.number, pointer.masked_fill(done, NONE))
        self.newest = token.masked_fill(done, 0)
        if self.present is not None:
            self.present.scatter_(1, self.newest[:, None], ~done[:, None])
        held = torch.where(pointer == rows.said, rows.held + 1, 1)
        stalled = (held > self.watch.stall) & ~closing
        self.count += 1
        self.rows = Rows(
            rows.number, rows.last, rows.zone, rows.limit, rows.length,
            torch.minimum(pointer + stalled, rows.length - 1), pointer,
            rows.closing + closing, held, done | (rows.limit <= self.count),
        )  # fmt: skip

    def _logits(self) -> Tensor:
        """Logits [B, V] of the next token."""
        slots = self.phones + 1 if self.cache is None else self.cache.length + 1
        column = torch.arange(slots, device=self.ids.device)
        apart = column - self.rows.pointer[:, None]  # [B, K]
        near = (apart >= -self.watch.back) & (apart <= self.watch.ahead) & (column < self.phones)
        self.window = torch.where(near, 0.0, SHUT)
        self.seen.clear()
        if self.cache is None:
            logits, self.cache = self.gpt.prefill(self.ids, self.rows.length)
        else:
            logits = self.gpt.step(self.newest, self.cache)
        return logits.float()

    def _moved(self, weights: Tensor) -> Tensor:
        """The pointer [B] at the middle of the mass [B, P] inside the window, as `Watch.observe`."""
        rows = self.rows
        place = rows.pointer[:, None] + self.near  # [B, W]
        inside = (place >= 0) & (place < rows.length[:, None])
        mass = weights.gather(1, place.clamp(0, self.phones - 1)).double() * inside
        mass = mass.cumsum(1)
        half = 0.5 * mass[:, -1:]
        middle = rows.pointer - self.watch.back + (mass < half).sum(1)
        moved = torch.maximum(rows.pointer, middle)
        return torch.where(half[:, 0] < 0.01, rows.pointer, moved)

    def drawn(self) -> Drawn:
        """What has been made."""
        counts = (self.tokens >= 0).sum(0)
        longest = int(counts.max())
        tokens, path = self.tokens[:longest].t(), self.path[:longest].t()
        return Drawn(tokens, path, counts, counts >= self.limit)


def _noise(dice: torch.Generator, vocabulary: int) -> Gumbel:
    """Gumbel noise from dice on their device."""

    def draw(_: int, number: Tensor) -> Tensor:
        made = torch.empty(len(number), vocabulary, device=number.device)
        return made.exponential_(generator=dice).clamp_min_(1e-30).log_().neg_()

    return draw


def chosen(
    logits: Tensor,
    gumbel: Tensor,
    present: Tensor | None,
    options: SamplingOptions,
    end: int,
    may_end: Tensor,
) -> tuple[Tensor, Tensor]:
    """`sampling.choose` for many rows: logits and noise [B, V], tokens seen [B, V] or None, who may end [B] -> tokens [B]
    and who ends [B].
    """
    closed = logits[:, end].masked_fill(~may_end, NEVER)
    logits = torch.cat([logits[:, :end], closed[:, None], logits[:, end + 1 :]], dim=1)
    if present is not None:
        penalty = options.repetition_penalty
        punished = torch.where(logits < 0, logits * penalty, logits / penalty)
        logits = torch.where(present, punished, logits)
    kept = logits
    if options.top_p < 1.0:
        ordered, order = logits.sort(1, descending=True)
        drop = ordered.softmax(1).cumsum(1) > options.top_p
        drop = F.pad(drop[:, 1:], (1, 0))  # the best stays
        kept = kept.masked_fill(torch.zeros_like(drop).scatter(1, order, drop), NEVER)
    kept = kept / max(options.temperature, 1e-5)
    if options.top_k < kept.shape[1]:
        kept = kept.masked_fill(kept < kept.topk(options.top_k, 1).values[:, -1:], NEVER)
    token = (kept + gumbel).argmax(1)
    return token, may_end & ((token == end) | (logits.argmax(1) == end))


def whole(words: Sequence[int], path: Sequence[int], options: WatchOptions) -> bool:
    """Whether the watch has nothing to say against a path [S] over phonemes of words [P]."""
    counts, own = np.bincount(path, minlength=len(words)), np.array(words)
    begin = np.flatnonzero(np.diff(own, prepend=own[0] - 1))  # of each run of one word
    long, said = np.diff(begin, append=len(own)), np.add.reduceat(counts, begin)
    raced = (own[begin] != PAUSE) & (said < np.maximum(1.0, options.least_rate * long))
    if counts.max() <= options.stall and raced.sum() < options.skipped_words:
        return True
    watch = Watch(words, (), options)
    for watch.pointer in path:
        watch.settle()
        if watch.fault() is not None:
            return False
    return True
