"""What is remembered of the reference, as a cause of its own: exchanged, or taken half and half.

Models that look up the reference's frames (`models/memory.py`) get the timbre by two roads: the speaker
vector, and these frames. `common_memory` is for the frames what `common_voice` is for the vector. The
frames reach the prior as keys and values of one attention, and so are exchanged there (`other_memory`)
without running anything else anew. Voices without a memory have no such cause: `looks_up` says so.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.attention import Attention
from ..models.generator import Generator
from ..models.memory import Memory
from ..sites import record
from ..voice import Voice, builtin_names
from . import replay
from .replay import Spoken

Edit = Callable[[Tensor], Tensor]
KEYS, VALUES = "prior.memory.attn.k", "prior.memory.attn.v"
QUERIES, READ = "prior.memory.attn.q", "prior.memory.read"


def looks_up(speech: Spoken) -> bool:
    """Whether the reference's frames are a cause of this speech."""
    generator = replay.variational(speech.models)
    return generator.prior.memory is not None and speech.voice.memory is not None


def nothing(generator: Generator) -> Memory:
    """A memory of no frames: nothing is remembered."""
    latents = generator.config.prior.latent_channels
    return Memory(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, latents, 0))


def common_memory(speech: Spoken) -> Memory:
    """Frames of the other built-in voices, if they are of this model; else nothing at all."""
    none = nothing(replay.variational(speech.models))
    voices = [Voice.builtin(name) for name in builtin_names() if name != speech.voice.name]
    fitting = [v for v in voices if v.model == speech.models.name and _alike(v, speech.voice)]
    return fitting[0].averaged(fitting[1:]).memory or none if fitting else none


def _alike(voice: Voice, own: Voice) -> bool:
    """Whether a voice remembers in the same form."""
    one, other = voice.memory, own.memory
    if one is None or other is None or len(voice.speaker) != len(own.speaker):
        return False
    return one.latents.shape[1] == other.latents.shape[1]


@torch.no_grad()
def keys_and_values(generator: Generator, memory: Memory) -> tuple[Tensor, Tensor]:
    """What a memory of one row offers to those who look: [1, H, 1 + R, M/H] each."""
    prior = generator.prior
    assert prior.memory is not None and prior.direct is not None
    config = generator.config.prior
    asking = torch.zeros(1, config.input_channels, 2), torch.zeros(1, config.hidden, 2)
    with record(generator, [KEYS, VALUES]) as seen:
        prior._remember(prior.memory, prior.direct, *asking, generator.heard(memory))
    return seen[KEYS][0], seen[VALUES][0]


def other_memory(speech: Spoken) -> dict[str, Edit]:
    """Edits of the generator: the common memory is looked up instead of the voice's own."""
    generator = replay.variational(speech.models)
    keys, values = keys_and_values(generator, common_memory(speech))
    return {KEYS: _instead(keys), VALUES: _instead(values)}


def _instead(held: Tensor) -> Edit:
    return lambda x: held.expand(len(x), *held.shape[1:])


def between(generator: Generator, source: Memory, target: Memory, share: Tensor) -> dict[str, Edit]:
    """Edits that read both memories: share [B] of what is read is the target's, the rest the source's.

    The way from one to the other is straight in what is read, so that it can be differentiated.
    """
    assert generator.prior.memory is not None
    attn = generator.prior.memory.attn
    ends = [keys_and_values(generator, memory) for memory in (source, target)]
    asked: list[Tensor] = []

    def ask(query: Tensor) -> Tensor:  # [B, H, T, M/H]
        asked[:] = [query]
        return query

    def read(found: Tensor) -> Tensor:  # [B, M, T]
        one, other = (_found(attn, asked[0], *end) for end in ends)
        return one + share[:, None, None] * (other - one)

    return {QUERIES: ask, READ: read}


def _found(attn: Attention, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What queries [B, H, T, M/H] find, [B, M, T]."""
    keys, values = (x.expand(len(query), *x.shape[1:]) for x in (keys, values))
    mixed = F.scaled_dot_product_attention(query, keys, values, scale=attn.scale)
    return attn.out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2)
