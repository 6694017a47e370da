"""Activation patching with shared dice: run again with one thing changed, all else and the noise alike.

A `Change` is one candidate cause: functions at sites of the GPT and of the generator. `rollouts` lets the
GPT go on from a token where all runs are still the same, many changes and several draws of dice in one
batch; draw 0 is the dice of the speech itself, so an unchanged run says the same tokens again. `curves`
sounds the results in batches and reads pitch and level per token. What is taken out is replaced by its
mean over the utterance, not by zero: a model has never seen zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .. import audio
from ..decoding import Dice
from ..models.posterior_mel import REFERENCE_HZ
from ..sampling import SamplingOptions, choose, derive, normal_noise
from ..sites import Moment, attach, sites, timed
from ..takes import seed_of_take
from ..watch import SHUT, Watch
from .events import Curves
from .replay import Passage, Spoken, guided_path, remembered, variational

AtRows = Callable[[Tensor, Moment], Tensor]
Plain = Callable[[Tensor], Tensor]
SOUNDED_AT_ONCE = 16  # rows of one run of the generator
NOTHING: Mapping[str, Callable[..., Tensor]] = {}


@dataclass(frozen=True)
class Change:
    """One candidate cause, as what undoes it. `kind` groups candidates of the same size."""

    kind: str
    name: str
    gpt: Mapping[str, AtRows] = field(default_factory=dict)
    generator: Mapping[str, Plain] = field(default_factory=dict)
    speaker: Tensor | None = None  # [G], instead of the voice's


CLEAN = Change("clean", "as it was said")


@dataclass(frozen=True)
class Rollout:
    """What the GPT said from `begin` on: all tokens and their phonemes."""

    tokens: tuple[int, ...]
    path: tuple[int, ...]


@torch.inference_mode()
def rollouts(
    speech: Spoken, passage: Passage, changes: Sequence[Change], begin: int, end: int, draws: int
) -> list[list[Rollout]]:
    """For each change `draws` continuations of tokens [0, begin) up to `end` tokens."""
    batch = len(changes) * draws
    chains: dict[str, list[tuple[slice, AtRows]]] = {}
    for number, change in enumerate(changes):
        rows = slice(number * draws, (number + 1) * draws)
        for name, function in change.gpt.items():
            chains.setdefault(name, []).append((rows, function))
    edits = {name: _by_rows(chain, batch) for name, chain in chains.items()}
    dice = [_dice(speech, passage, draw) for draw in range(draws)] * len(changes)
    runner = _Runner(speech, passage, begin, dice)
    with attach(speech.models.gpt, edits), attach(speech.models.gpt, runner.edits()):
        made = runner.run(end)
    return [made[number * draws : (number + 1) * draws] for number in range(len(changes))]


def _dice(speech: Spoken, passage: Passage, draw: int) -> Dice:
    seed = seed_of_take(speech.synthesis.seed, passage.number, passage.take)
    vocabulary = speech.models.gpt.config.codebook_size + 1
    return Dice(derive(seed, *(("try", 0) if draw == 0 else ("why", draw))), vocabulary)


def _by_rows(chain: Sequence[tuple[slice, AtRows]], batch: int) -> Callable[..., Tensor]:
    """Each change acts on its own rows of the batch."""

    def edit(x: Tensor, moment: Moment) -> Tensor:
        x = x.expand(batch, *x.shape[1:]).clone()
        for rows, function in chain:
            x[rows] = function(x[rows], moment)
        return x

    return timed(edit)


class _Runner:
    """A batch of decoders in step; each row has its own pointer into the text."""

    def __init__(self, speech: Spoken, passage: Passage, begin: int, dice: Sequence[Dice]) -> None:
        self.speech, self.passage, self.begin, self.dice = speech, passage, begin, dice
        self.gpt = speech.models.gpt
        config, watched = self.gpt.config, speech.options.watch
        self.heads = config.guided_heads if watched is not None else ()
        words = (*[-1] * passage.first, *passage.words)
        self.watches = [Watch(words, self.heads, watched, first=passage.first) for _ in dice]
        self.rows_before = len(passage.prompt) - (0 if config.bos else 1)
        self.seen: list[Tensor] = []
        said = [passage.first + place for place in passage.path[:begin]]
        for watch in self.watches:
            watch.path, watch.rows = list(said), [passage.first, *said][:begin]
            watch.pointer = said[-1] if said else passage.first

    def edits(self) -> dict[str, Callable[..., Tensor]]:
        made: dict[str, Callable[..., Tensor]] = {}
        for layer in sorted({layer for layer, _ in self.heads}):
            mine = [head for at, head in self.heads if at == layer]
            made[f"blocks.{layer}.attn.bias"] = self._window(mine)
            made[f"blocks.{layer}.attn.pattern"] = self._look(mine)
        return made

    def _window(self, heads: Sequence[int]) -> Callable[..., Tensor]:
        def edit(bias: Tensor, moment: Moment) -> Tensor:  # [1 or B, H, Q, K]
            start = moment.text + self.rows_before
            bias = bias.expand(len(self.watches), *bias.shape[1:]).clone()
            for item, watch in enumerate(self.watches):
                for row, position in enumerate(moment.positions):
                    if start <= position < start + len(watch.rows) and position >= moment.text:
                        low, high = watch.window(watch.rows[position - start])
                        for head in heads:
                            bias[item, head, row, :low] += SHUT
                            bias[item, head, row, high:] += SHUT
            return bias

        return timed(edit)

    def _look(self, heads: Sequence[int]) -> Callable[..., Tensor]:
        def edit(pattern: Tensor, moment: Moment) -> Tensor:  # [B, H, Q, K]
            self.seen.append(pattern[:, heads, -1, : moment.text].float())
            return pattern

        return timed(edit)

    def run(self, end: int) -> list[Rollout]:
        passage, count = self.passage, len(self.watches)
        ids = torch.tensor([[*passage.before, *passage.ids]]).expand(count, -1)
        before = torch.tensor([[*passage.prompt, *passage.tokens[: self.begin]]], dtype=torch.long)
        context = passage.context
        if context is not None:
            context = context.expand(count, -1, -1)
        tokens = [list(passage.tokens[: self.begin]) for _ in self.watches]
        self._feed()
        lengths = torch.full((count,), ids.shape[1])
        logits, cache = self.gpt.prefill(ids, lengths, before.expand(count, -1), context)
        for step in range(self.begin, end):
            self._observe()
            newest = [
                self._pick(logits[row].float(), tokens[row], row, step) for row in range(count)
            ]
            if step + 1 < end:
                self._feed()
                logits = self.gpt.step(torch.tensor(newest), cache)
        paths = self._paths(end)
        return [Rollout(tuple(t), p) for t, p in zip(tokens, paths, strict=True)]

    def _pick(self, logits: Tensor, tokens: list[int], row: int, step: int) -> int:
        present = torch.tensor(sorted({*self.passage.prompt, *tokens}), dtype=torch.long)
        options: SamplingOptions = self.speech.options
        choice = choose(logits, self.dice[row][step], present, options, self.gpt.end, may_end=False)
        tokens.append(choice.token)
        self.watches[row].settle()
        return choice.token

    def _feed(self) -> None:
        for watch in self.watches:
            watch.rows.append(watch.pointer)
        self.seen.clear()

    def _observe(self) -> None:
        if not self.seen:
            return
        weights = torch.cat(self.seen, dim=1).mean(1)  # [B, P]
        for row, watch in enumerate(self.watches):
            watch.observe(weights[row])
        self.seen.clear()

    def _paths(self, end: int) -> list[tuple[int, ...]]:
        first = self.passage.first
        if self.heads:
            return [tuple(place - first for place in watch.path) for watch in self.watches]
        held = self.passage.path  # nothing follows the text: the phonemes stay where they were
        held = (*held, *[held[-1]] * max(0, end - len(held)))
        return [held[:end] for _ in self.watches]


class _Enough(Exception):
    """Raised at the F0 site: pitch is known, the waveform is not wanted."""


@torch.inference_mode()
def curves(
    speech: Spoken,
    passage: Passage,
    runs: Sequence[Rollout],
    change: Change,
    *,
    loud: bool,
    new_dice: bool = False,
) -> list[Curves]:
    """Sound rollouts of equal length, with a change in the generator; pitch and level per token.

    `new_dice`: the rows after the first roll other dice for the sound; else all roll the speech's own.
    """
    made: list[Curves] = []
    for begin in range(0, len(runs), SOUNDED_AT_ONCE):
        part = runs[begin : begin + SOUNDED_AT_ONCE]
        rows = range(begin, begin + len(part)) if new_dice else [0] * len(part)
        noise = torch.cat([_sound_dice(speech, passage, row, part[0]) for row in rows])
        f0, level = _sounded(speech, passage, part, change, noise, loud=loud)
        for row, run in enumerate(part):
            made.append(Curves(f0[row], level[row], run.path))
    return made


def _sound_dice(speech: Spoken, passage: Passage, draw: int, run: Rollout) -> Tensor:
    """The generator's dice [1, C, T]; draw 0 is the speech's own."""
    more = () if draw == 0 else ("why", draw)
    seed = derive(speech.synthesis.seed, passage.number, "sound", *more)
    channels = speech.models.generator.config.noise_channels
    return normal_noise(seed, channels, 2 * len(run.tokens))


def _sounded(
    speech: Spoken,
    passage: Passage,
    runs: Sequence[Rollout],
    change: Change,
    noise: Tensor,
    *,
    loud: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """log2 F0 and level per token, [B, S] each."""
    generator = variational(speech.models)
    batch, count = len(runs), len(runs[0].tokens)
    vector = speech.voice.speaker if change.speaker is None else change.speaker
    pulled = bool(generator.config.prior.pull) and bool(guided_path(speech, passage))
    pointer = torch.tensor([run.path for run in runs]) if pulled else None
    known: list[Tensor] = []
    pitched = "decoder.f0" in sites(generator)

    def take(f0: Tensor) -> Tensor:
        known.append(f0)
        if not loud:
            raise _Enough
        return f0

    with ExitStack() as stack:
        stack.enter_context(attach(generator, change.generator))
        if pitched:
            stack.enter_context(attach(generator, {"decoder.f0": take}))
        try:
            output = generator.decode(
                torch.tensor([run.tokens for run in runs]),
                torch.tensor([passage.ids]).expand(batch, -1),
                vector[None].expand(batch, -1),
                noise,
                1.0,
                pointer,
                remembered(speech.voice.memory, batch),
            )
            wave = output.audio.float().numpy()  # [B, N]
        except _Enough:
            wave = None
    if not pitched:
        rate = generator.config.sample_rate
        tracks = [audio.f0(row, rate, 0.01) for row in np.asarray(wave)]
        known.append(torch.from_numpy(np.stack(tracks)))
    octaves = np.stack([_per_token(row, count) for row in known[0].float().numpy()])
    level = np.zeros((batch, count)) if wave is None else _levels(wave, count)
    return octaves, level


def _per_token(f0: np.ndarray, count: int) -> np.ndarray:
    """F0 [F] in Hz -> mean log2 above REFERENCE_HZ of each token's voiced frames, nan for none."""
    place = np.arange(len(f0)) * count // len(f0)
    voiced = f0 > 0
    sums = np.bincount(place[voiced], np.log2(f0[voiced] / REFERENCE_HZ), minlength=count)
    counts = np.bincount(place[voiced], minlength=count)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _levels(wave: np.ndarray, count: int) -> np.ndarray:
    """Waves [B, N] -> level in dB per token [B, S]."""
    usable = wave.shape[1] // count * count
    power = (wave[:, :usable].astype(np.float64) ** 2).reshape(len(wave), count, -1).mean(-1)
    return 10 * np.log10(power + 1e-8)
