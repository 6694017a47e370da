"""Whether a voice and a model go together, and what is to be said where they only nearly do."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .bundle import Bundle
from .models.calibration import neutral
from .models.generator_matching import MelPrompt
from .models.memory import Memory
from .notes import Note
from .text import TextPipeline
from .voice import Voice


def fitting(models: Bundle, voice: Voice) -> Voice:
    """The voice, if this model can use it; a speaker vector belongs to the model that heard it."""
    wanted = models.generator.config.speaker.speaker_width
    if len(voice.speaker) != wanted:
        raise ValueError(
            f"the voice {voice.name!r} was made for the model {voice.model or 'mini'!r}, "
            f"not for {models.name!r}: give this model a recording instead"
        )
    if voice.memory is not None and models.generator.config.prior.memory_width:
        _check_memory(models, voice.memory, voice.name)
    return voice


def _check_memory(models: Bundle, memory: Memory, name: str) -> None:
    """ValueError where a voice's frames are not such as this model looks up."""
    config = models.generator.config
    wide = memory.latents.shape[1] == config.prior.latent_channels
    if memory.correction is not None:
        unknown = neutral(1, config.prior.latent_channels, config.prior.input_channels)
        wide = wide and memory.correction.shape == unknown.shape
    if not wide or bool((memory.tokens >= config.codebook_size).any()):
        raise ValueError(
            f"what the voice {name!r} remembers of its reference was made for another model than "
            f"{models.name!r}: give this model a recording instead"
        )


def mel_prompt(voice: Voice) -> MelPrompt | None:
    """What a flow-matching model goes on from, of voices made with one."""
    if voice.prompt_mel is None:
        return None
    tokens, phonemes = (torch.tensor([x]) for x in (voice.prompt_tokens, voice.prompt_phonemes))
    return MelPrompt(voice.prompt_mel[None], tokens, phonemes)


def mismatches(models: Bundle, text: TextPipeline, voice: Voice) -> Iterator[str]:
    """Warnings: another text front end, or a voice of another model."""
    if models.fingerprint and models.fingerprint != text.fingerprint:
        yield Note.of("front-end")
    if voice.model and voice.model not in (models.name, models.hears_as):
        yield Note.of(
            "other-model", voice=repr(voice.name), theirs=repr(voice.model), ours=repr(models.name)
        )
    if voice.fingerprint and voice.prompt_phonemes and voice.fingerprint != text.fingerprint:
        yield Note.of("front-end-voice", voice=repr(voice.name))
