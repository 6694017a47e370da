"""`trace`: say a text once and keep what every joint did, as one typed record.

In: text, voice, seed. Out: `Trace`: the synthesis (the very samples that `tts` gives for that seed),
and for each passage the attention of every GPT layer and head from spoken tokens to phonemes
[L, H, S, P] and from phonemes to phonemes [L, H, P, P], what remains on speech [L, H, S], the prior's
cross-attention [H, S, P], logits [S, K+1], and the tokens that each layer would have chosen (`lens`).
F0 (Hz, 0: unvoiced) and level (dB) of the audio stand every 10 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import audio
from ..bundle import Bundle
from ..engine import check_options, default_voice, tts
from ..synthesis import Synthesis
from ..voice import Voice, find
from . import replay
from .replay import Passage, Spoken

HOP_SECONDS = 0.01
RECENT = 5  # tokens (200 ms) that count as what has just been said
QUIET_DB = -80.0

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class PassageTrace:
    """What the models did over one passage; L layers, H heads, S tokens, P phonemes."""

    passage: Passage
    attention: Floats  # [L, H, S, P], spoken tokens to the phonemes said
    binding: Floats  # [L, H, P, P], phonemes to phonemes
    recent: Floats  # [L, H, S], attention to the last RECENT audio positions
    earlier: Floats  # [L, H, S], attention to all audio before those
    prior_attention: Floats  # [H, S, P], the generator's own reading of the text
    logits: Floats  # [S, K+1]
    residual: Floats  # [L, S, D], after each layer, in the rows that predict the tokens


@dataclass(frozen=True)
class Trace:
    """One synthesis, opened. `spoken` can be replayed with edits."""

    spoken: Spoken
    passages: tuple[PassageTrace, ...]
    f0: NDArray[np.float32]  # [F] Hz
    level: NDArray[np.float32]  # [F] dB

    @property
    def synthesis(self) -> Synthesis:
        """The speech and its named intermediates."""
        return self.spoken.synthesis

    @property
    def models(self) -> Bundle:
        """The model that spoke."""
        return self.spoken.models

    @property
    def token_seconds(self) -> float:
        """How long one token sounds."""
        generator = self.models.generator.config
        return 2 * generator.hop / generator.sample_rate / self.spoken.options.speed

    def zero(self, passage: Passage) -> float:
        """When a passage's first token would begin, its cut-off silence included: may be below 0."""
        last = len(passage.tokens) - 1
        return float(self.synthesis.token_times[passage.begin + last]) - last * self.token_seconds


def trace(
    text: str,
    voice: Voice | str | Path | None = None,
    *,
    seed: int = 0,
    model: Bundle | str | Path | None = None,
    lexicon: str | Path | None = None,
    **options: Any,
) -> Trace:
    """Say `text` and keep what every joint did. Options are those of `tts`."""
    pipeline = tts.pipeline(model, lexicon)
    chosen = find(voice or default_voice(text), model=pipeline.models)
    made = tts(text, chosen, model=model, lexicon=lexicon, seed=seed, **options)
    checked = check_options({**options, "seed": seed}).suited(pipeline.models.config)
    return trace_of(replay.spoken(pipeline, chosen, checked, made))


@torch.inference_mode()
def trace_of(speech: Spoken) -> Trace:
    """Open a synthesis that has been made."""
    made = speech.synthesis
    return Trace(
        speech,
        tuple(_passage_trace(speech, passage) for passage in speech.passages),
        audio.f0(made.audio, made.sample_rate, HOP_SECONDS),
        level(made.audio, made.sample_rate),
    )


def level(wave: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Level in dB of each 10 ms, over 30 ms [N] -> [F]."""
    hop = round(HOP_SECONDS * rate)
    count = len(wave) // hop
    padded = np.pad(wave.astype(np.float64) ** 2, (hop, 2 * hop))
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    starts = np.arange(count) * hop
    power = (sums[starts + 3 * hop] - sums[starts]) / (3 * hop)
    return (10 * np.log10(np.maximum(power, 10 ** (QUIET_DB / 10)))).astype(np.float32)


def _passage_trace(speech: Spoken, passage: Passage) -> PassageTrace:
    layers = len(speech.models.gpt.blocks)
    notes: dict[str, dict[int, Floats]] = {name: {} for name in ("text", "own", "new", "old", "x")}
    edits: dict[str, Callable[[Tensor], Tensor]] = {}
    for layer in range(layers):
        edits[f"blocks.{layer}.attn.pattern"] = _pattern_note(speech, passage, layer, notes)
        edits[f"blocks.{layer}.resid"] = _residual_note(speech, passage, layer, notes)
    logits = replay.read(speech, passage, edits)[0]
    return PassageTrace(
        passage=passage,
        attention=_stacked(notes["text"]),
        binding=_stacked(notes["own"]),
        recent=_stacked(notes["new"]),
        earlier=_stacked(notes["old"]),
        prior_attention=prior_attention(speech, passage),
        logits=logits.float().numpy().copy(),
        residual=_stacked(notes["x"]),
    )


def _stacked(notes: dict[int, Floats]) -> Floats:
    return np.stack([notes[layer] for layer in sorted(notes)])


def _pattern_note(
    speech: Spoken, passage: Passage, layer: int, notes: dict[str, dict[int, Floats]]
) -> Callable[[Tensor], Tensor]:
    rows = speech.rows(passage)

    def note(pattern: Tensor) -> Tensor:  # [1, H, L, L]
        heads = pattern[0].float()
        asked = heads[:, rows]  # [H, S, L]
        said = slice(passage.first, passage.text)
        notes["text"][layer] = asked[:, :, said].half().numpy()
        notes["own"][layer] = heads[:, said, said].half().numpy()
        new, old = _on_speech(asked, rows.start, passage.text)
        notes["new"][layer], notes["old"][layer] = new.numpy(), old.numpy()
        return pattern

    return note


def _on_speech(asked: Tensor, start: int, text: int) -> tuple[Tensor, Tensor]:
    """Attention [H, S, L] -> mass on the last audio positions and on all before, [H, S] each."""
    place = torch.arange(asked.shape[2])[None, :]
    row = start + torch.arange(asked.shape[1])[:, None]
    audio_side = place >= text
    near = audio_side & (place > row - RECENT)
    new = (asked * near).sum(2)
    return new, (asked * audio_side).sum(2) - new


def _residual_note(
    speech: Spoken, passage: Passage, layer: int, notes: dict[str, dict[int, Floats]]
) -> Callable[[Tensor], Tensor]:
    rows = speech.rows(passage)

    def note(x: Tensor) -> Tensor:  # [1, L, D]
        notes["x"][layer] = x[0, rows].float().numpy().copy()
        return x

    return note


def prior_attention(speech: Spoken, passage: Passage) -> Floats:
    """The prior's cross-attention, two frames a token averaged: [H, S, P]."""
    seen: list[Floats] = []

    def note(pattern: Tensor) -> Tensor:  # [1, H, 2 S, P]
        seen.append(pattern[0].float().unflatten(1, (-1, 2)).mean(2).numpy().copy())
        return pattern

    replay.sound(speech, passage, {"prior.attn.pattern": note})
    return seen[0][:, -len(passage.tokens) :, -len(passage.ids) :].astype(np.float16)
