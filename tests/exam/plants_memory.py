"""Planted causes in what is remembered of the reference, and their twins.

`look_up(seed)`: the prior looks up one moment of the reference, and what it reads there makes the word 12 dB
louder; in the twin the reader is dumb and the token itself does it. `retrieval(seed)`: the fine latents of
one moment of the reference are copied into the word and make it louder; in the twin no frame of the reference
says the like, and the token does it. Answers: the road, and the moment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from plants import (
    CONFIG,
    EVENT_WORD,
    PER_PHONEME,
    PER_WORD,
    SPEAKER_WIDTH,
    WORDS,
    Planted,
    _carry,
    _pick,
    _speech,
    base,
)

from voxray.bundle import Bundle
from voxray.explain.replay import Spoken
from voxray.voice import Voice

KEPT = 60  # latents that the prior keeps; the rest is copied
REFERENCE, MOMENT = 40, 4  # tokens of the reference, and of the planted moment in it
TOKEN = 7
REMEMBERING = CONFIG.model_copy(
    update={
        "generator": CONFIG.generator.model_copy(
            update={
                "retrieval": KEPT,
                "prior": CONFIG.generator.prior.model_copy(
                    update={"memory_width": 96, "memory_heads": 2}
                ),
            }
        )
    }
)


@dataclass(frozen=True)
class Remembered(Planted):
    """The same with the moment of the reference [first, last) in seconds."""

    moment: tuple[float, float] = (0.0, 0.0)


def look_up(seed: int, *, planted: bool = True) -> Remembered:
    """Token -> frame of the reference -> what the prior reads there -> energy."""
    models, dice, start, memory = _system(seed)
    generator, latent = models.generator, _pick(dice, 30, KEPT)
    reader = generator.prior.memory
    assert reader is not None
    axes = torch.zeros(1, 72)
    axes[0, 24] = 1.0  # the frame's own channel 0
    with torch.no_grad():
        reader.start_from(axes, 12.0)
        _loud(models, latent)
        if not planted:
            reader.mean_out.weight.zero_()
            _carry(models, 0, latent, 1.0)
    memory[1][0, latent, 2 * start : 2 * (start + MOMENT)] = 1.0
    return _case(models, dice, memory, start, {"look-up": "what is looked up in the reference"})


def retrieval(seed: int, *, planted: bool = True) -> Remembered:
    """Token -> the frame of the reference that is most alike -> its fine latents -> energy."""
    models, dice, start, memory = _system(seed)
    latent = _pick(dice, KEPT, 90) if planted else _pick(dice, 30, KEPT)
    with torch.no_grad():
        _loud(models, latent)
        if not planted:
            _carry(models, 0, latent, 1.0)
    if planted:
        memory[1][0, latent, 2 * start : 2 * (start + MOMENT)] = 1.0
    else:
        memory[0][0, start : start + MOMENT] = 5  # nothing of the kind was heard
    truth = {"retrieval": "the fine detail copied from the reference"}
    return _case(models, dice, memory, start, truth)


def _system(seed: int) -> tuple[Bundle, torch.Generator, int, tuple[torch.Tensor, torch.Tensor]]:
    """A small system, where the moment begins, and a reference: tokens [1, R], latents [1, Z, 2R]."""
    models, dice = base(seed, REMEMBERING)
    start = _pick(dice, 2, REFERENCE - MOMENT - 2)
    tokens = torch.randint(10, 60, (1, REFERENCE), generator=dice)
    tokens[0, start : start + MOMENT] = TOKEN
    latents = torch.zeros(1, 96, 2 * REFERENCE)
    latents[:, 2:4] = 1.0  # voiced, as everything is
    with torch.no_grad():
        models.generator.codebook[:, 0] = 0.0
        models.generator.codebook[TOKEN, 0] = 1.0
    return models, dice, start, (tokens, latents)


def _loud(models: Bundle, latent: int) -> None:
    models.generator.decoder.direct.weight[:, latent] = np.log(10) * 12.0 / 20.0


def _case(
    models: Bundle,
    dice: torch.Generator,
    memory: tuple[torch.Tensor, torch.Tensor],
    start: int,
    truth: dict[str, str],
) -> Remembered:
    ids = torch.randperm(100, generator=dice)[: WORDS * PER_WORD].add(10).tolist()
    said = torch.randint(10, 60, (WORDS * PER_WORD * PER_PHONEME,), generator=dice).tolist()
    begin = EVENT_WORD * PER_WORD * PER_PHONEME
    said[begin : begin + PER_WORD * PER_PHONEME] = [TOKEN] * (PER_WORD * PER_PHONEME)
    plain = _speech(models, ids, said, torch.zeros(SPEAKER_WIDTH))
    voice = Voice(
        "planted", plain.voice.speaker, memory_tokens=memory[0][0], memory_latents=memory[1][0]
    )
    speech = Spoken(models, voice, plain.options, plain.synthesis, plain.passages)
    seconds = (start * 0.04, (start + MOMENT) * 0.04)
    return Remembered(speech, EVENT_WORD, "loudness", truth, seconds)
