"""The user's own controls as causes: an edit, a speed, a pause written into the text.

Each is taken back in turn and the text said again with the same seed, through the engine. The event's
measure is then read from both waves. In: speech, passage, event. Out: (name, effect) pairs; none where
the user asked for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import audio
from ..engine import tts
from ..pipeline import SynthesisOptions
from ..synthesis import Synthesis
from .events import Curves, Event
from .replay import Passage, Spoken

HOP = 0.01
PAUSE_MARK = re.compile(r"\[\s*\d+(?:\.\d+)?\s*m?s\s*\]")


def controls(speech: Spoken, passage: Passage, event: Event) -> Iterator[tuple[str, float]]:
    """What the event would be without each control; effect = with it - without it."""
    tried = list(_without(speech))
    if not tried:
        return
    with_all = _measured(speech, event, speech.synthesis)
    for name, text, options in tried:
        made = tts(text, speech.voice, model=speech.models, **options)
        yield name, with_all - _measured(speech, event, made)


def _without(speech: Spoken) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, text, options) with one control taken back."""
    options, text = speech.options, speech.synthesis.text
    given = {name: getattr(options, name) for name in SynthesisOptions.model_fields}
    given["seed"] = speech.synthesis.seed
    for number, edit in enumerate(getattr(options.edits, "edits", ())):
        rest = options.edits.without(number)
        where = "" if edit.word is None else f" of {edit.word!r}"
        yield f"the edit {edit.kind}{where}", text, {**given, "edits": rest}
    if options.speed != 1.0:
        yield f"the speed {options.speed:g}", text, {**given, "speed": 1.0}
    for mark in PAUSE_MARK.finditer(text):
        kept = text[: mark.start()] + " " + text[mark.end() :]
        yield f"the pause {mark[0]}", kept, given


def _measured(speech: Spoken, event: Event, made: Synthesis) -> float:
    """Pitch, loudness or pause of the event's word, from the wave; words are matched by number."""
    if len(made.words) <= event.word:
        return float("nan")
    word = made.words[event.word]
    if event.measure.kind == "pause":
        after = made.words[event.word + 1 :]
        return after[0].start_s - word.end_s if after else made.seconds - word.end_s
    return event.measure(wave_curves(made, event))


def wave_curves(made: Synthesis, event: Event) -> Curves:
    """Pitch and level of each 40 ms of a wave; the event's word stands where it was said."""
    count = max(1, int(made.seconds / 0.04))
    f0 = audio.f0(made.audio, made.sample_rate, HOP)[: 4 * count]
    f0 = np.pad(f0, (0, 4 * count - len(f0))).reshape(count, 4)
    voiced = (f0 > 0).sum(1)
    logs = np.where(f0 > 0, np.log2(np.maximum(f0, 1.0)), 0.0).sum(1)
    octaves = np.where(voiced > 0, logs / np.maximum(voiced, 1), np.nan)
    samples = round(0.04 * made.sample_rate)
    wave = np.pad(made.audio, (0, max(0, count * samples - len(made.audio))))
    power = (wave[: count * samples].astype(np.float64) ** 2).reshape(count, samples).mean(1)
    word = made.words[event.word]
    inside = np.arange(count) * 0.04 + 0.02
    mine = (inside >= word.start_s) & (inside < word.end_s)
    place = min(event.measure.phonemes)
    path = tuple(place if hit else -1 for hit in mine)
    return Curves(octaves, 10 * np.log10(power + 1e-8), path)
