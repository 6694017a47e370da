"""What is remembered of the reference, as a cause of its own: exchanged, or taken half and half.

Models that look up the reference's frames (`models/memory.py`) get the timbre by two roads: the speaker
vector, and these frames. `common_memory` is for the frames what `common_voice` is for the vector. The
frames act at two places: the prior looks them up (keys and values of one attention), and the fine latents
are taken from them (`models/retrieval.py`). Both read what is heard of the frames, and so it is exchanged
there (`other_memory`); `other_look_up` and `other_retrieval` exchange it for one of the two. Voices without a
memory have no such cause: `looks_up` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.attention import Attention
from ..models.calibration import corrected, neutral
from ..models.generator import Generator
from ..models.memory import Memory
from ..models.prior import Heard
from ..models.retrieval import at_pace, retrieved
from ..sites import record
from ..voice import Voice, builtin_names
from . import replay
from .replay import Spoken

Edit = Callable[[Tensor], Tensor]
CODES, HEARD_CODES, HEARD_LATENTS = "codes", "heard_codes", "heard_latents"
CORRECTION = "correction"  # how the voice differs from what is said of it
FLOWN, RETRIEVED = "flow.couplings.0.out", "retrieved"  # before and after the retrieval
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
    fitting = [v for v in voices if v.model == speech.models.hears_as and _alike(v, speech.voice)]
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


@torch.no_grad()
def heard_of(generator: Generator, memory: Memory) -> Heard:
    """What is heard of a memory of one row, [1, C, R], [1, Z, R] and [1, Z, F + 2]; R may be 0."""
    heard = generator.heard(memory)
    if heard is not None:
        return heard
    codes = generator.config.prior.input_channels
    unknown = neutral(1, memory.latents.shape[1], codes) if generator.config.retrieval else None
    return Heard(torch.zeros(1, codes, 0), memory.latents[..., :0], correction=unknown)


def other_memory(speech: Spoken) -> dict[str, Edit]:
    """Edits of the generator: the common memory is heard instead of the voice's own."""
    generator = replay.variational(speech.models)
    heard = heard_of(generator, common_memory(speech))
    edits = {HEARD_CODES: _instead(heard.features), HEARD_LATENTS: _instead(heard.latents)}
    if heard.correction is not None:
        edits[CORRECTION] = _instead(heard.correction)
    return edits


def other_look_up(speech: Spoken) -> dict[str, Edit]:
    """Edits of the generator: the prior looks the common memory up; the retrieval keeps the voice's own."""
    generator = replay.variational(speech.models)
    keys, values = keys_and_values(generator, common_memory(speech))
    return {KEYS: _instead(keys), VALUES: _instead(values)}


def other_retrieval(speech: Spoken) -> dict[str, Edit]:
    """Edits of the generator: fine latents and correction come from the common memory; the look-up keeps the
    voice's own.
    """
    generator = replay.variational(speech.models)
    retrieval, heard = Retrieval(generator), heard_of(generator, common_memory(speech))
    return retrieval.edits(lambda: retrieval.from_memory(heard))


def _instead(held: Tensor) -> Edit:
    return lambda x: _rows(held, len(x))


class Retrieval:
    """What the retrieval of a run reads, watched, so that it can be made once more from something else.

    Edits of one `Retrieval` compose: what one of them changed stays changed for the next.
    """

    def __init__(self, generator: Generator) -> None:
        self.kept = generator.config.retrieval
        self.count = generator.config.retrieval_frames
        self.features, self.z = torch.empty(0), torch.empty(0)  # [B, C, T], [B, Z, T]
        self.heard: Heard | None = None

    def edits(self, make: Callable[[], Tensor]) -> dict[str, Edit]:
        """Watch, and put what `make` makes in the place of the retrieved latents."""
        return {
            CODES: self._codes,
            HEARD_CODES: self._heard_codes,
            HEARD_LATENTS: self._heard_latents,
            CORRECTION: self._correction,
            FLOWN: self._flown,
            RETRIEVED: lambda _: make(),
        }

    def made(self, heard: Heard | None) -> Tensor:
        """Latents [B, Z, T] as retrieved from these frames of the reference."""
        if heard is not None:
            features, latents = (_rows(x, len(self.z)) for x in (heard.features, heard.latents))
            heard = replace(heard, features=features, latents=latents)
        return retrieved(self.z, self.features, heard, self.kept, self.count)

    def coarse(self, heard: Heard) -> Tensor:
        """The latents [B, K, T] that are not retrieved, as corrected by what is known of a voice."""
        if not heard.latents.shape[2]:
            return self.z[:, : self.kept]
        features = at_pace(_rows(self.features, len(self.z)), self.z)
        return corrected(self.z, features, heard.correction)[:, : self.kept]

    def from_memory(self, heard: Heard) -> Tensor:
        """As retrieved from other frames."""
        self.heard = heard
        return self.made(heard)

    def from_mean_codes(self) -> Tensor:
        """As retrieved for frames that all say the same."""
        self.features = self.features.mean(2, keepdim=True).expand_as(self.features)
        return self.made(self.heard)

    def _codes(self, codes: Tensor) -> Tensor:  # [B, 2S, C]
        self.features, self.heard = codes.transpose(1, 2), None
        return codes

    def _heard_codes(self, codes: Tensor) -> Tensor:  # [B, C, R]
        self.heard = Heard(codes, codes)  # the latents come next
        return codes

    def _heard_latents(self, latents: Tensor) -> Tensor:  # [B, Z, R]
        assert self.heard is not None
        self.heard = replace(self.heard, latents=latents)
        return latents

    def _correction(self, correction: Tensor) -> Tensor:  # [B, Z, F + 2]
        assert self.heard is not None
        self.heard = replace(self.heard, correction=correction)
        return correction

    def _flown(self, z: Tensor) -> Tensor:  # [B, Z, T]
        self.z = z
        return z


def _rows(x: Tensor, rows: int) -> Tensor:
    return x.expand(rows, *x.shape[1:])


def between(
    generator: Generator,
    source: Memory,
    target: Memory,
    share: Tensor,
    fine: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Edit]:
    """Edits that read both memories: share [B] of what is read is the target's, the rest the source's.

    The way from one to the other is straight in what is read and in what is retrieved, so that it can be
    differentiated. `fine`: fine latents [B, F, T] taken from the one and from the other, where these are held;
    else each point finds its own frames, and the way jumps where another frame is found.
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

    edits: dict[str, Edit] = {QUERIES: ask, READ: read}
    if generator.config.retrieval:
        edits |= _between_fine(generator, source, target, share, fine)
    return edits


def _between_fine(
    generator: Generator,
    source: Memory,
    target: Memory,
    share: Tensor,
    fine: tuple[Tensor, Tensor] | None,
) -> dict[str, Edit]:
    retrieval, kept = Retrieval(generator), generator.config.retrieval
    heard = [heard_of(generator, memory) for memory in (source, target)]

    def mixed() -> Tensor:  # [B, Z, T]
        ends = fine or [retrieval.made(each)[:, kept:] for each in heard]
        first, last = (
            torch.cat([retrieval.coarse(each), _rows(end, len(share))], dim=1)
            for each, end in zip(heard, ends, strict=True)
        )
        return first + share[:, None, None] * (last - first)

    return retrieval.edits(mixed)


def _found(attn: Attention, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What queries [B, H, T, M/H] find, [B, M, T]."""
    keys, values = (_rows(x, len(query)) for x in (keys, values))
    mixed = F.scaled_dot_product_attention(query, keys, values, scale=attn.scale)
    return attn.out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2)
