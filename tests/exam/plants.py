"""Models with planted causes, and their unplanted twins: the explainers' own exam.

`chain(seed)`: a symbol in the text -> one head, which writes only after a trigger token -> one token ->
four semitones more. Cause of the event: that word (or mark), that head, that layer, that token, by way of
the GPT. `coupling(seed)`: one coupling of the flow turns what a token carries into 12 dB. `speaker(seed)`:
one dimension of the speaker vector moves the spectrum up. A twin has the same speech with the mechanism
taken out: what is left of the event has no such cause. All real classes, all widths small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from voxray.bundle import Bundle
from voxray.config import (
    BundleConfig,
    ContentConfig,
    FlowConfig,
    GeneratorConfig,
    GPTConfig,
    IstftDecoderConfig,
    PriorConfig,
    SpeakerConfig,
)
from voxray.explain.patching import CLEAN, rollouts
from voxray.explain.replay import Passage, Spoken
from voxray.pipeline import SynthesisOptions
from voxray.synthesis import Synthesis, WordTime
from voxray.text.phonemes import Phoneme, Phonemes, Word
from voxray.voice import Voice

WORDS, PER_WORD, PER_PHONEME = 6, 2, 3
HEARD, WRITTEN, TRIGGERED = 62, 61, 60  # dimensions of the GPT that carry the plant
SEMITONES = 4.0
SPEAKER_WIDTH = 16
EVENT_WORD = 4

CONFIG = BundleConfig(
    name="planted",
    gpt=GPTConfig(width=64, n_layer=2, n_head=4, codebook_size=64, guided_heads=()),
    generator=GeneratorConfig(
        codebook_size=64,
        speaker=SpeakerConfig(hidden=16, speaker_width=SPEAKER_WIDTH),
        prior=PriorConfig(
            input_channels=24, hidden=16, filter=32, content_layers=1, text_layers=1,
            joint_layers=1, cross_width=16, cross_heads=2, direct=3, speaker_width=SPEAKER_WIDTH,
        ),
        flow=FlowConfig(hidden=16, layers=1, couplings=4, speaker_width=SPEAKER_WIDTH),
        decoder=IstftDecoderConfig(width=16, layers=1),
    ),
    content=ContentConfig(width=32, n_layer=2, n_head=2, frozen_layers=1, code_width=24),
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """Speech of a planted model and the right answers by kind of candidate."""

    speech: Spoken
    event_word: int
    what: str
    truth: dict[str, str]


def base(seed: int, config: BundleConfig = CONFIG) -> tuple[Bundle, torch.Generator]:
    """A small system whose latents hardly move: pitch 150 Hz, voiced, an even level."""
    dice = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = Bundle.build(config)
    gpt, generator = models.gpt, models.generator
    with torch.no_grad():
        for table in (gpt.text_embedding.weight, gpt.audio_embedding.weight):
            table.normal_(generator=dice)
            table[:, [HEARD, WRITTEN, TRIGGERED]] = 0.0
        gpt.text_position.alpha.fill_(0.1)
        gpt.audio_position.alpha.fill_(0.1)
        gpt.head.weight.normal_(std=0.05, generator=dice)
        generator.codebook.normal_(std=0.05, generator=dice)
        generator.prior.project.weight.mul_(0.02)
        generator.prior.project.bias.zero_()
        generator.prior.direct.codes.weight.zero_()
        generator.prior.direct.codes.bias.zero_()
        generator.prior.direct.codes.bias[2:4] = 1.0  # voiced
        generator.prior.direct.speaker.weight.zero_()
        generator.decoder.direct.weight.mul_(0.02)
    return models, dice


def _pick(dice: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (1,), generator=dice))


def _carry(models: Bundle, code_channel: int, latent: int, amount: float) -> None:
    """Let a channel of the codes move a latent, at the frame itself."""
    width = models.generator.config.prior.input_channels
    models.generator.prior.direct.codes.weight[latent, width + code_channel] = amount


def _speech(models: Bundle, ids: list[int], tokens: list[int], speaker: torch.Tensor) -> Spoken:
    words = tuple(i // PER_WORD for i in range(WORDS * PER_WORD))
    path = tuple(i // PER_PHONEME for i in range(len(words) * PER_PHONEME))
    items = tuple(
        Phoneme(f"S{ids[i]}", ids[i], words[i], words[i], words[i] + 1, "en", "vowel")
        for i in range(len(ids))
    )
    names = [f"word{i}" for i in range(WORDS)]
    seconds = PER_WORD * PER_PHONEME * 0.04
    made = Synthesis(
        audio=np.zeros(int(len(path) * 0.04 * 24_000), np.float32), sample_rate=24_000,
        text=" ".join(names), tokens=np.array(tokens), alignment=np.array(path),
        phonemes=Phonemes("", "", items, tuple(Word(n, 0, 0, "en") for n in names)),
        token_times=np.arange(len(path)) * 0.04, latents=np.zeros((96, 0), np.float32), seed=1,
        words=[WordTime(n, i * seconds, (i + 1) * seconds) for i, n in enumerate(names)],
    )  # fmt: skip
    passage = Passage(0, tuple(range(len(ids))), words, tuple(ids), tuple(tokens), path, 0)
    options = SynthesisOptions(seed=1, temperature=1.0)
    return Spoken(models, Voice("planted", speaker), options, made, (passage,))


def chain(seed: int, *, planted: bool = True) -> Planted:
    """word -> head -> token -> pitch."""
    models, dice = base(seed)
    gpt, generator = models.gpt, models.generator
    layer, head, token, trigger = _pick(dice, 0, 2), _pick(dice, 0, 4), 7, 9
    symbol_word = _pick(dice, 0, WORDS)
    ids = torch.randperm(100, generator=dice)[: WORDS * PER_WORD].add(10).tolist()
    symbol = ids[symbol_word * PER_WORD]
    with torch.no_grad():
        gpt.text_embedding.weight[symbol, HEARD] = 6.0
        gpt.audio_embedding.weight[[token, trigger], TRIGGERED] = 6.0
        attention, depth = gpt.blocks[layer].attn, 64 // 4
        first = head * depth
        qkv = attention.qkv
        for part in range(3):
            qkv.weight[part * 64 + first : part * 64 + first + depth] = 0.0
            qkv.bias[part * 64 + first : part * 64 + first + depth] = 0.0
        qkv.weight[first, TRIGGERED] = 1.3
        qkv.weight[64 + first, HEARD] = 1.3
        qkv.weight[128 + first, HEARD] = 1.0
        attention.out.weight[:, first : first + depth] = 0.0
        attention.out.weight[WRITTEN, first] = 1.5
        gpt.head.weight[token] = 0.0
        gpt.head.weight[token, WRITTEN] = 2.0
        generator.codebook[:, 0] = 0.0
        generator.codebook[token, 0] = 1.0
        for latent in (0, 1):  # twice the octaves of both frames
            _carry(models, 0, latent, 2.0 * SEMITONES / 12.0)
    said = torch.randint(10, 60, (WORDS * PER_WORD * PER_PHONEME,), generator=dice).tolist()
    start = EVENT_WORD * PER_WORD * PER_PHONEME - 2
    said[start - 1] = trigger
    speech = _speech(models, ids, said, torch.zeros(SPEAKER_WIDTH))
    end = (EVENT_WORD + 1) * PER_WORD * PER_PHONEME
    made = rollouts(speech, speech.passages[0], [CLEAN], start, end, 1)[0][0]
    said[start:end] = made.tokens[start:end]  # what comes after is as it was: the head rests again
    speech = _speech(models, ids, said, torch.zeros(SPEAKER_WIDTH))
    if not planted:
        with torch.no_grad():
            gpt.blocks[layer].attn.out.weight[WRITTEN, first] = 0.0
    truth = {"word": f"word{symbol_word}", "head": f"{layer}.{head}", "layer": str(layer)}
    return Planted(speech, EVENT_WORD, "pitch", {**truth, "token": str(token)})


def coupling(seed: int, *, planted: bool = True) -> Planted:
    """One coupling of the flow carries the energy that a token brings; in a twin the prior does."""
    models, dice = base(seed)
    generator = models.generator
    flow, token = generator.flow, 7
    number = _pick(dice, 0, len(flow.couplings))
    place = _pick(dice, 52, 84)  # of the moved latent, in the second half, as the coupling sees it
    latent = place if number % 2 == 0 else 95 - place
    felt = _pick(dice, 12, 40)  # of the latent that it reads, in the first half
    source = felt if (len(flow.couplings) - number) % 2 == 0 else 95 - felt
    with torch.no_grad():
        generator.codebook[:, 0] = 0.0
        generator.codebook[token, 0] = 1.0
        generator.decoder.direct.weight[:, latent] = np.log(10) * 12.0 / 20.0
        if planted:
            _carry(models, 0, source, 2.0)
            _wire(flow.couplings[number], felt, place)
        else:
            _carry(models, 0, latent, 1.0)
    ids = torch.randperm(100, generator=dice)[: WORDS * PER_WORD].add(10).tolist()
    said = torch.randint(10, 60, (WORDS * PER_WORD * PER_PHONEME,), generator=dice).tolist()
    start = EVENT_WORD * PER_WORD * PER_PHONEME
    said[start : start + PER_WORD * PER_PHONEME] = [token] * (PER_WORD * PER_PHONEME)
    speech = _speech(models, ids, said, torch.zeros(SPEAKER_WIDTH))
    return Planted(speech, EVENT_WORD, "loudness", {"coupling": str(number)})


def _wire(coupling: torch.nn.Module, felt: int, place: int) -> None:
    """Let a coupling answer to channel `felt` by one unit (times -1: the inverse subtracts) at `place`."""
    x = torch.zeros(2, 48, 16)
    x[1, felt] = 2.0
    mask = torch.ones(1, 1, 16)
    hidden = coupling.net(coupling.before(x) * mask, mask, torch.zeros(1, SPEAKER_WIDTH, 1))
    change = (hidden[1] - hidden[0])[:, 8]
    coupling.after.weight.zero_()
    coupling.after.weight[place - 48] = -change / change.square().sum()
    coupling.after.bias.zero_()


def speaker(seed: int, *, planted: bool = True) -> Planted:
    """One dimension of the speaker vector tilts the spectrum upwards."""
    models, dice = base(seed)
    generator = models.generator
    dimension, latent = _pick(dice, 0, SPEAKER_WIDTH), 50
    bins = generator.config.decoder.n_fft // 2 + 1
    tilt = torch.linspace(-1.0, 1.0, bins).repeat(4)
    with torch.no_grad():
        generator.decoder.direct.weight[:, latent] = tilt
        generator.prior.direct.speaker.weight[latent] = 0.05  # all alike
        if planted:
            generator.prior.direct.speaker.weight[latent, dimension] = 1.0
    vector = torch.ones(SPEAKER_WIDTH)
    ids = torch.randperm(100, generator=dice)[: WORDS * PER_WORD].add(10).tolist()
    said = torch.randint(10, 60, (WORDS * PER_WORD * PER_PHONEME,), generator=dice).tolist()
    speech = _speech(models, ids, said, vector)
    return Planted(speech, EVENT_WORD, "brightness", {"dimension": str(dimension)})
