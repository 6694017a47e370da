"""Speech that was made, read once more in whole passes: the base of every explanation.

In: a `Synthesis` and what made it. Out: `Passage`s, one for each stretch that the GPT said in one
breath, and functions that run the models over them again: `read` (teacher-forced GPT, logits
[B, S, K+1] of the S spoken tokens) and `sound` (the generator, with the same dice). The watch's
window on the guided heads is put back from the alignment, so that a replay attends as the run did.
Batches of the same passage with different edits cost one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bundle import Bundle
from ..fitting import mel_prompt
from ..joining import PieceDecoder
from ..models.generator import Generator, GeneratorOutput
from ..models.memory import Memory
from ..pieces import Piece, Script
from ..pipeline import Pipeline, SynthesisOptions
from ..sampling import derive, normal_noise
from ..sites import attach
from ..synthesis import Synthesis
from ..voice import Voice
from ..watch import Watch

Edits = Mapping[str, Callable[..., Tensor]]
NO_EDITS: Edits = {}


@dataclass(frozen=True)
class Passage:
    """What the GPT read and said in one breath. Phoneme and token numbers below are local to it.

    `ids` are the phonemes said, `before` and `prompt` those and the tokens of a style reference;
    `path` [S] is the phoneme of each token, `begin` the first token's place in the whole speech.
    """

    number: int
    items: tuple[int, ...]  # places of `ids` in the whole text's phonemes
    words: tuple[int, ...]
    ids: tuple[int, ...]
    tokens: tuple[int, ...]
    path: tuple[int, ...]
    begin: int
    take: int = 0  # which try at it is said
    before: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()
    context: Tensor | None = None  # [1, P, E]

    @property
    def first(self) -> int:
        """Text position of the first phoneme that is said."""
        return len(self.before)

    @property
    def text(self) -> int:
        """Text positions in all, those of a style reference included."""
        return len(self.before) + len(self.ids)


@dataclass(frozen=True)
class Spoken:
    """A synthesis with all that is needed to run it again."""

    models: Bundle
    voice: Voice
    options: SynthesisOptions
    synthesis: Synthesis
    passages: tuple[Passage, ...]

    def rows(self, passage: Passage) -> slice:
        """Sequence positions whose output predicts the spoken tokens."""
        start = passage.text + len(passage.prompt) - (0 if self.models.gpt.config.bos else 1)
        return slice(start, start + len(passage.tokens))


def spoken(
    pipeline: Pipeline, voice: Voice, options: SynthesisOptions, synthesis: Synthesis
) -> Spoken:
    """Cut a synthesis into the passages it was said in."""
    if len(synthesis.tokens) == 0:
        raise ValueError("nothing was said: there is nothing to explain")
    models = pipeline.models
    script = Script(
        synthesis.text, pipeline.text, options.language, options.pause_ms, models.context
    )
    styled = options.style and bool(len(voice.prompt_tokens))
    made: list[Passage] = []
    begin = 0
    for piece in (piece for piece in script if piece.spoken):
        members = set(piece.items)
        end = begin
        while end < len(synthesis.tokens) and int(synthesis.alignment[end]) in members:
            end += 1
        made.append(_passage(piece, len(made), synthesis, begin, end, voice, styled))
        begin = end
    if begin != len(synthesis.tokens):
        raise ValueError("this speech was made from other text, or by another text front end")
    kept = tuple(passage for passage in made if passage.tokens)
    return Spoken(models, voice, options, synthesis, kept)


def _passage(
    piece: Piece, number: int, made: Synthesis, begin: int, end: int, voice: Voice, styled: bool
) -> Passage:
    local = {item: index for index, item in enumerate(piece.items)}
    context = piece.context
    if context is not None and styled and voice.prompt_context is not None:
        context = torch.cat([voice.prompt_context, context])
    return Passage(
        number=number,
        items=piece.items,
        words=piece.words,
        ids=piece.ids,
        tokens=tuple(int(token) for token in made.tokens[begin:end]),
        path=tuple(local[int(item)] for item in made.alignment[begin:end]),
        begin=begin,
        take=made.takes[number] if number < len(made.takes) else 0,
        before=tuple(voice.prompt_phonemes) if styled else (),
        prompt=tuple(voice.prompt_tokens) if styled else (),
        context=None if context is None else context[None],
    )


def watch_edits(speech: Spoken, passage: Passage) -> dict[str, Callable[..., Tensor]]:
    """The window that the watch held over the guided heads, for a whole pass."""
    config, options = speech.models.gpt.config, speech.options.watch
    if not config.guided_heads or options is None:
        return {}
    words = (*[-1] * passage.first, *passage.words)
    watch = Watch(words, config.guided_heads, options, first=passage.first)
    watch.rows = [passage.first + place for place in (0, *passage.path[:-1])]
    edits = watch.edits(len(passage.prompt) - (0 if config.bos else 1))
    return {name: edit for name, edit in edits.items() if name.endswith(".bias")}


def read(
    speech: Spoken,
    passage: Passage,
    edits: Edits = NO_EDITS,
    *,
    batch: int = 1,
    ids: Tensor | None = None,
) -> Tensor:
    """Logits [B, S, K+1] of the spoken tokens, teacher-forced, with edits at sites of the GPT.

    `ids` [B, P] puts other phonemes in the place of all text (a style reference's included).
    Gradients flow unless the caller turned them off.
    """
    gpt = speech.models.gpt
    if ids is None:
        ids = torch.tensor([[*passage.before, *passage.ids]]).expand(batch, -1)
    tokens = torch.tensor([[*passage.prompt, *passage.tokens]]).expand(len(ids), -1)
    lengths = torch.full((len(ids),), ids.shape[1])
    context = passage.context
    if context is not None:
        context = context.expand(len(ids), -1, -1)
    with ExitStack() as stack:
        stack.enter_context(attach(gpt, watch_edits(speech, passage)))
        stack.enter_context(attach(gpt, edits))
        logits = gpt(ids, lengths, tokens, context=context)
    start = len(passage.prompt)
    return logits[:, start : start + len(passage.tokens)]


def token_log_probs(logits: Tensor, passage: Passage) -> Tensor:
    """Log-probability [B, S] of each spoken token, before penalty and temperature."""
    said = torch.tensor(passage.tokens)[None, :, None].expand(len(logits), -1, 1)
    return logits.float().log_softmax(-1).gather(2, said)[..., 0]


def sound(
    speech: Spoken, passage: Passage, edits: Edits = NO_EDITS
) -> tuple[NDArray[np.float32], PieceDecoder]:
    """Samples [N] of a passage before its silent edges were cut, with edits in the generator."""
    path = guided_path(speech, passage)
    decoder = PieceDecoder(
        speech.models,
        passage.ids,
        speech.voice.speaker,
        derive(speech.synthesis.seed, passage.number, "sound"),
        speech.options.speed,
        aligned=not path,  # as the run did it
        prompt=mel_prompt(speech.voice),
        memory=speech.voice.memory,
    )
    with attach(speech.models.generator, edits):
        wave = decoder.decode(passage.tokens, 0, len(passage.tokens), last=True, path=path)
    return wave, decoder


def guided_path(speech: Spoken, passage: Passage) -> tuple[int, ...]:
    """The path as the generator was told it: only where guided heads drew it."""
    guided = bool(speech.models.gpt.config.guided_heads) and speech.options.watch is not None
    return passage.path if guided else ()


def remembered(memory: Memory | None, rows: int) -> Memory | None:
    """A memory of one row, for a batch of rows."""
    if memory is None or rows == len(memory.tokens):
        return memory
    lengths = None if memory.lengths is None else memory.lengths.expand(rows)
    correction = None if memory.correction is None else memory.correction.expand(rows, -1, -1)
    tokens, latents = memory.tokens.expand(rows, -1), memory.latents.expand(rows, -1, -1)
    return Memory(tokens, latents, lengths, correction)


def decode(
    speech: Spoken,
    passage: Passage,
    *,
    speaker: Tensor | None = None,
    tokens: Tensor | None = None,
    memory: Memory | None = None,
) -> GeneratorOutput:
    """The generator once more, gradients kept; other tokens [1, S], speaker [G] or memory if given."""
    generator = variational(speech.models)
    said = torch.tensor([passage.tokens]) if tokens is None else tokens
    vector = speech.voice.speaker if speaker is None else speaker
    pulled = bool(generator.config.prior.pull) and bool(guided_path(speech, passage))
    pointer = torch.tensor([passage.path]) if pulled else None
    return generator.decode(
        said,
        torch.tensor([passage.ids]),
        vector[None],
        passage_noise(speech, passage),
        speech.options.speed,
        pointer,
        speech.voice.memory if memory is None else memory,
    )


def passage_noise(speech: Spoken, passage: Passage) -> Tensor:
    """The generator's dice [1, C, T] of a passage, as they fell in the run."""
    frames = int(2 * len(passage.tokens) / speech.options.speed) + 1
    channels = speech.models.generator.config.noise_channels
    seed = derive(speech.synthesis.seed, passage.number, "sound")
    return normal_noise(seed, channels, frames)


def variational(models: Bundle) -> Generator:
    """The generator, if it has a flow; flow-matching models make their mel in another way."""
    if not isinstance(models.generator, Generator):
        raise ValueError(
            f"{models.name!r} makes its sound by flow matching: this explanation needs the "
            "variational generator of mini, v1, v2 or v2Pro"
        )
    return models.generator
