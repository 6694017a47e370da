"""Which dimensions of the speaker vector make the sound bright or dark, by intervention.

Each dimension is set to its value in the common voice, one at a time, tokens and dice alike; brightness
is the power-weighted mean frequency of the wave in Hz. In: speech and a passage. Out: dimensions from the
strongest down, with each one's effect and its share of what the whole vector does. Interactions between
dimensions are not seen, so shares need not add up to 1. What is remembered of the reference is held; what
it does by itself, exchanged for that of other voices, stands beside them (`memory`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models.memory import Memory
from ..sampling import derive, normal_noise
from .candidates import common_voice
from .memory import common_memory, looks_up
from .replay import Passage, Spoken, guided_path, remembered, variational

AT_ONCE = 16
LEAST_HZ = 30.0  # below that the vectors sound alike
LEAST_SHARE, STANDS_OUT = 0.25, 2.0


@dataclass(frozen=True)
class Dimensions:
    """Dimensions by effect; `total` is what all of them do together, `memory` what the reference's frames
    do, in Hz (None: none are looked up).
    """

    order: tuple[int, ...]
    effects: tuple[float, ...]
    shares: tuple[float, ...]
    total: float
    memory: float | None = None

    @property
    def certain(self) -> bool:
        """Whether one dimension stands out."""
        rest = float(np.median(np.abs(self.shares[1:]))) if len(self.shares) > 1 else 0.0
        enough = abs(self.total) >= LEAST_HZ and self.shares[0] >= LEAST_SHARE
        return enough and self.shares[0] >= STANDS_OUT * rest


@torch.inference_mode()
def rank_dimensions(speech: Spoken, passage: Passage) -> Dimensions:
    """Set each dimension of the speaker vector to the common voice's, and listen."""
    own, common = speech.voice.speaker, common_voice(speech)
    changed = own.repeat(len(own), 1)
    changed[range(len(own)), range(len(own))] = common
    heard = brightness(speech, passage, torch.cat([own[None], common[None], changed]))
    total = heard[0] - heard[1]
    effects = heard[0] - heard[2:]
    remembers = None
    if looks_up(speech):
        others = brightness(speech, passage, own[None], common_memory(speech))
        remembers = float(heard[0] - others[0])
    scale = total if abs(total) > 1e-9 else 1e-9
    order = np.argsort(-effects * np.sign(scale))
    return Dimensions(
        tuple(int(d) for d in order),
        tuple(float(effects[d]) for d in order),
        tuple(float(effects[d] / scale) for d in order),
        float(total),
        remembers,
    )


def brightness(
    speech: Spoken, passage: Passage, vectors: Tensor, memory: Memory | None = None
) -> np.ndarray:
    """Mean frequency in Hz of a passage said by each speaker vector [N, G] -> [N].

    `memory`: instead of the voice's own.
    """
    generator = variational(speech.models)
    seed = derive(speech.synthesis.seed, passage.number, "sound")
    noise = normal_noise(seed, generator.config.noise_channels, 2 * len(passage.tokens))
    memory = speech.voice.memory if memory is None else memory
    pulled = bool(generator.config.prior.pull) and bool(guided_path(speech, passage))
    made = []
    for part in vectors.split(AT_ONCE):
        rows = len(part)
        pointer = torch.tensor([passage.path]).expand(rows, -1) if pulled else None
        output = generator.decode(
            torch.tensor([passage.tokens]).expand(rows, -1),
            torch.tensor([passage.ids]).expand(rows, -1),
            part,
            noise.expand(rows, -1, -1),
            1.0,
            pointer,
            remembered(memory, rows),
        )
        power = np.abs(np.fft.rfft(output.audio.float().numpy(), axis=1)) ** 2  # [B, F]
        hertz = np.linspace(0, generator.config.sample_rate / 2, power.shape[1])
        made.append((power * hertz).sum(1) / np.maximum(power.sum(1), 1e-12))
    return np.concatenate(made)
