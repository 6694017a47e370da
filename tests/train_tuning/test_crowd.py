"""Many takes at once are what the pipeline makes one by one: tokens, sound, what is heard in it; and a run learns from them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from conftest import TINY, with_memory
from voxray import audio
from voxray.bundle import Bundle
from voxray.config import GPTConfig
from voxray.decoding import Dice, TokenDecoder
from voxray.models.generator import Generator
from voxray.models.gpt import GPT
from voxray.options import SynthesisOptions
from voxray.sampling import choose, derive, gumbel_noise, normal_noise
from voxray.takes import odds_said
from voxray.tokens.content import Readout
from voxray.tokens.phones import PhoneTable
from voxray.train.crowd import Clock
from voxray.train.crowd_sound import (
    Group,
    Timbre,
    Voices,
    codes_heard,
    odds_heard,
    resampled,
    sounded,
    speech_gains,
)
from voxray.train.crowd_tokens import Line, TokenCrowd, chosen, padded, whole
from voxray.train.policy import Said, advantages, clarity_losses, losses_by_parts, rows_of
from voxray.voice import Voice
from voxray.watch import Watch, WatchOptions

CPU = torch.device("cpu")
WORDS = ([-1, 0, 0, 1, 1, -1, 2, 2, 2, -1], [3, 3, 4, -1], [0] * 3 + [1] * 4 + [-1] + [2] * 6 + [3, -1])  # fmt: skip
OPTIONS = SynthesisOptions(
    temperature=0.8,
    floor=4,
    top_p=0.9,
    repetition_penalty=1.2,
    watch=WatchOptions(tries=0, stall=9),
)


def lines() -> list[Line]:
    dice = np.random.default_rng(2)
    return [Line(tuple(dice.integers(3, 200, len(w)).tolist()), tuple(w), "a") for w in WORDS]


@pytest.fixture(scope="module")
def looking() -> GPT:
    """A GPT whose guided heads move on."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        gpt = GPT(TINY.gpt).eval()  # type: ignore[arg-type]
        for block in gpt.blocks:
            block.attn.qkv.weight.data.mul_(12.0)  # type: ignore[union-attr]
    return gpt


def alone(gpt: GPT, line: Line, seed: int) -> TokenDecoder:
    watch = Watch(line.words, gpt.config.guided_heads, OPTIONS.watch)
    limit = OPTIONS.floor + 25 + 5 * len(line.ids)
    decoder = TokenDecoder(gpt, line.ids, OPTIONS, seed, watch=watch, limit=limit)
    decoder.advance()
    return decoder


def test_tokens_are_those_of_each_line_alone(looking: GPT) -> None:
    rows = [line for line in lines() for _ in range(3)]
    dice = [Dice(derive(seed, "try", 0), looking.end + 1) for seed in range(len(rows))]

    def noise(step: int, numbers: torch.Tensor) -> torch.Tensor:
        return torch.stack([dice[number][step] for number in numbers.tolist()])

    drawn = TokenCrowd(looking, OPTIONS, noise, pace=5)(rows, torch.Generator())
    others = [alone(looking, line, seed) for seed, line in enumerate(rows)]
    assert len({len(other.tokens) for other in others}) > 3
    assert {True, False} == {other.cut_off or bool(other.unmended) for other in others}
    for row, other in enumerate(others):
        count = int(drawn.counts[row])
        assert drawn.tokens[row, :count].tolist() == other.tokens
        assert drawn.path[row, :count].tolist() == other.path
        assert bool(drawn.cut[row]) == other.cut_off
        assert (drawn.tokens[row, count:] == -1).all()
        spoilt = other.cut_off or bool(other.unmended)
        told = not other.cut_off and whole(rows[row].words, other.path, OPTIONS.watch)  # type: ignore[arg-type]
        assert told == (not spoilt)


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_rows_are_chosen_from_as_one_is(top_p: float) -> None:
    options = OPTIONS.model_copy(update={"top_p": top_p})
    dice = torch.Generator().manual_seed(1)
    logits, gumbel = 3 * torch.randn(60, 30, generator=dice), gumbel_noise(dice, 60, 30)
    logits[::4, 29] += 8
    present, may_end = (torch.rand(60, 30, generator=dice) < 0.2), torch.arange(60) % 8 < 4
    present[:, 29] = False
    tokens, ended = chosen(logits, gumbel, present, options, 29, may_end)
    for row in range(60):
        seen = present[row].nonzero()[:, 0]
        one = choose(logits[row], gumbel[row], seen, options, 29, may_end=bool(may_end[row]))
        assert bool(ended[row]) == one.ended and (one.ended or int(tokens[row]) == one.token)
    assert ended.any() and not ended.all()


def test_what_the_watch_says_of_a_path() -> None:
    dice, options = np.random.default_rng(3), WatchOptions(stall=12)
    told = []
    for _ in range(150):
        words = WORDS[2]
        speed = dice.uniform(0.05, 2.5)
        path = (np.cumsum(dice.exponential(speed, 40)).astype(int)).clip(max=len(words) - 1)
        watch, faults = Watch(words, (), options), 0
        for watch.pointer in path.tolist():
            watch.settle()
            faults += watch.fault() is not None
        told.append(not faults)
        assert whole(words, path.tolist(), options) == told[-1]
    assert 10 < sum(told) < 140


def group_of(rows: list[Line], tokens: list[list[int]], paths: list[list[int]]) -> Group:
    return Group(
        padded(tokens, multiple=16), padded(paths, -1, 16), torch.tensor([len(t) for t in tokens]),
        padded([line.ids for line in rows]), torch.tensor([len(line.ids) for line in rows]),
        torch.arange(len(rows)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def sayings() -> tuple[list[list[int]], list[list[int]]]:
    dice, sizes = np.random.default_rng(4), (60, 31, 80)
    tokens = [dice.integers(0, 1024, size).tolist() for size in sizes]
    paths = [
        np.sort(dice.integers(0, len(words), size)).tolist()
        for size, words in zip(sizes, WORDS, strict=True)
    ]
    return tokens, paths


def test_sound_is_that_of_each_take_alone(
    remembering: Bundle, voice: Voice, sayings: tuple[list[list[int]], list[list[int]]]
) -> None:
    """Voices with references of two lengths, and one with none; noise in the prior and in the decoder."""
    generator = copy.deepcopy(remembering.generator)
    assert isinstance(generator, Generator)
    generator.config = generator.config.model_copy(update={"noise_scale": 0.4})
    people = {"a": with_memory(voice), "b": voice, "c": with_memory(voice, 7, 44)}
    timbres = {name: Timbre.of(one, generator.config) for name, one in people.items()}
    tokens, paths = sayings
    group, rows = group_of(lines(), tokens, paths), range(len(tokens))
    channels = generator.config.noise_channels

    def noise(frames: int) -> torch.Tensor:
        return torch.cat([normal_noise(row, channels, frames) for row in rows])

    waves = sounded(generator, Voices(timbres, CPU), group, noise)
    for row, one in enumerate(people.values()):
        with torch.inference_mode():
            made = generator.decode(
                torch.tensor([tokens[row]]), torch.tensor([lines()[row].ids]), one.speaker[None],
                normal_noise(row, channels, 2 * len(tokens[row])),
                pointer=torch.tensor([paths[row]]), memory=one.memory,
            ).audio[0].clamp(-1, 1)  # fmt: skip
        inner, size = made[:-3840], len(made)  # 160 ms at the end see the edge
        assert (waves[row, : len(inner)] - inner).abs().max() < 1e-3 * inner.abs().max()
        assert np.corrcoef(waves[row, : len(inner)], inner)[0, 1] > 0.9999
        assert np.corrcoef(waves[row, :size], made)[0, 1] > 0.95  # random weights are loud there
        assert not waves[row, size:].any()


def test_odds_are_those_of_each_take_alone(
    tiny: Bundle, sayings: tuple[list[list[int]], list[list[int]]]
) -> None:
    models = copy.copy(tiny)
    readout = Readout(tiny.config.content).eval()  # type: ignore[arg-type]
    models.phones = PhoneTable.of(readout, tiny.quantiser.codebook)
    tokens, paths = sayings
    group = group_of(lines(), tokens, paths)
    dice = np.random.default_rng(5)
    codes = torch.from_numpy(dice.integers(0, 1024, group.tokens.shape))
    waves = torch.zeros(3, 960 * codes.shape[1])
    odds = odds_heard(models.phones, codes, group)
    for row, line in enumerate(lines()):
        size = 960 * len(tokens[row])
        rising = np.linspace(0.2, 1.0, size) * dice.standard_normal(size) * 0.1
        waves[row, :size] = torch.from_numpy(rising.astype(np.float32))
        assert odds_of(models, codes[row, : len(tokens[row])], line, paths[row]) == pytest.approx(
            odds[row, line.spoken].numpy(), abs=1e-6
        )
        gain = audio.speech_gain(waves[row, :size].numpy())
        assert float(speech_gains(waves)[row]) == pytest.approx(gain, rel=1e-4)
    heard = codes_heard(models.content, models.quantiser, waves, 24_000, group.counts)  # type: ignore[arg-type]
    for row, own in enumerate(tokens):
        wave = waves[row, : 960 * len(own)].numpy()
        single = audio.resample(wave * audio.speech_gain(wave), 24_000, 16_000)
        same = heard[row, : len(own)] == models.encode(torch.from_numpy(single))
        assert same.float().mean() > 0.9  # the resampler is another one


def odds_of(models: Bundle, codes: torch.Tensor, line: Line, path: list[int]) -> np.ndarray:
    """`odds_said`, of a model that hears certain codes."""
    deaf = copy.copy(models)
    deaf.encode = lambda wave: codes  # type: ignore[method-assign]
    return odds_said(
        deaf, np.ones(960 * len(path), np.float32), 24_000, line.ids, line.spoken, path
    )


def test_resampling_is_that_of_the_library() -> None:
    wave = np.random.default_rng(1).standard_normal((1, 9600)).astype(np.float32)
    wave[:, :480] = wave[:, -480:] = 0.0
    ours = resampled(torch.from_numpy(wave), 24_000, 16_000)[0].numpy()
    theirs = audio.resample(wave[0], 24_000, 16_000)
    assert len(ours) == len(theirs) and np.corrcoef(ours, theirs)[0, 1] > 0.995


def test_losses_by_parts_are_those_of_the_whole(looking: GPT) -> None:
    twice = [line for line in lines() for _ in range(2)]
    drawn = TokenCrowd(looking, OPTIONS)(twice, torch.Generator().manual_seed(1))
    counts = drawn.counts.tolist()
    tokens, paths = (
        [row[:n] for row, n in zip(rows.tolist(), counts)] for rows in (drawn.tokens, drawn.path)
    )
    said = [
        Said(
            line.ids, tuple(line.spoken), tokens[2 * n : 2 * n + 2], paths[2 * n : 2 * n + 2],
            np.random.default_rng(n).standard_normal((2, len(line.spoken))).astype(np.float32),
            [True, False],
        )
        for n, line in enumerate(lines())
    ]  # fmt: skip
    batch = rows_of(said, advantages(said), looking.end)
    before = copy.deepcopy(looking)
    looking.zero_grad()
    whole_losses = clarity_losses(looking, before, batch, 0.8)
    (whole_losses["gain"] + whole_losses["moved"]).backward()
    grads = [p.grad.clone() for p in looking.parameters() if p.grad is not None]
    looking.zero_grad()
    parts = losses_by_parts(looking, before, batch, 0.8, 2)
    (parts["gain"] + parts["moved"]).backward()
    again = [p.grad for p in looking.parameters() if p.grad is not None]
    assert {k: float(v) for k, v in parts.items()} == pytest.approx(
        {k: float(v) for k, v in whole_losses.items()}, abs=1e-4
    )
    for one, other in zip(grads, again, strict=True):
        assert torch.allclose(one, other, atol=1e-3 * float(one.abs().max()) + 1e-6)
        assert one.abs().max() > 1e-5


def test_who_cannot_be_in_a_crowd() -> None:
    config = TINY.gpt.model_copy(update={"bos": False})
    assert isinstance(config, GPTConfig)
    with pytest.raises(ValueError, match="first position"):
        TokenCrowd(GPT(config), OPTIONS)
    clock = Clock(CPU)
    with clock.on("work"):
        pass
    assert set(clock.taken()) == {"work"} and not clock.taken()
