"""The rows of the table as tasks: built-in voices, cloned strangers, other languages, the ladder.

The ladder tells which part limits the sound: a real recording -> the decoder from its true latents
-> the generator from its true tokens (voice conversion) -> the full chain from its text.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import audio
from ..engine import tts
from ..voice import Voice, builtin_names
from . import sets
from .harness import Take, Task
from .report import BUILT_IN, CROSS, OWN, ZERO_SHOT
from .sets import Clip, Line, Reference

RUNGS = ("ladder: real", "ladder: decoder", "ladder: generator", "ladder: chain")


class Cloned:
    """Voices made from references, each once. What cannot become a voice is left out and noted."""

    def __init__(self, folder: Path, model: Any = None) -> None:
        self.folder = folder
        self.model = model
        self.notes: list[str] = []
        self._made: dict[str, Voice | None] = {}

    def voice(self, reference: Reference) -> Voice | None:
        """The reference's voice, or None."""
        if reference.name not in self._made:
            self._made[reference.name] = self._clone(reference)
        return self._made[reference.name]

    def _clone(self, reference: Reference) -> Voice | None:
        models = tts.pipeline(self.model).models
        try:
            return Voice.from_file(reference.clip.file(self.folder), model=models)
        except (ValueError, OSError) as error:
            self.notes.append(f"{reference.name} left out: {error}")
            return None

    def usable(self, references: Sequence[Reference], most: int) -> list[Reference]:
        """The first `most` references that became voices."""
        found = (reference for reference in references if self.voice(reference) is not None)
        return list(itertools.islice(found, most))


def builtin(
    lines: Sequence[Line], seeds: int, known: dict[str, Reference], options: dict[str, Any]
) -> Iterator[Task]:
    """Every text in a built-in voice of its language, the voices taking turns."""
    voices = {name: Voice.builtin(name) for name in builtin_names()}
    for number, line in enumerate(lines):
        own = [name for name, voice in voices.items() if voice.language in ("", line.language)]
        if not own:
            continue
        for seed in range(seeds):
            name = own[(number + seed) % len(own)]
            yield Task(BUILT_IN, line, name, known.get(name), seed=seed, options=options)


def zero_shot(
    lines: Sequence[Line],
    seeds: int,
    references: dict[str, list[Reference]],
    cloned: Cloned,
    options: dict[str, Any],
    *,
    cross: bool = False,
) -> Iterator[Task]:
    """Every text in an unseen speaker's voice; `cross` takes speakers of the other language."""
    for number, line in enumerate(lines):
        other = "zh" if line.language == "en" else "en"
        speakers = references[other if cross else line.language]
        for seed in range(seeds if speakers else 0):
            reference = speakers[(number + seed) % len(speakers)]
            row = CROSS if cross else ZERO_SHOT
            said = "" if cross else _transcript(reference)
            voice = cloned.voice(reference)
            yield Task(row, line, voice, reference, said, seed, options)


def _transcript(reference: Reference) -> str:
    whole = reference.clip.begin == 0.0 and reference.clip.end is None
    return reference.clip.text if whole else ""


def rung_clips(
    references: Sequence[Reference], clips: Sequence[Clip], most: int
) -> list[tuple[Clip, Reference]]:
    """Recordings with human transcripts, of speakers whose reference is another recording."""
    named = {reference.name: reference for reference in references}
    pairs = [
        (clip, named[name])
        for clip in clips
        if (name := f"{clip.corpus}/{clip.speaker}") in named
        and clip.text_source == "human"
        and clip.seconds >= sets.SHORTEST_CLIP
        and clip.path != named[name].clip.path
    ]
    step = max(1, -(-len(pairs) // most))
    return pairs[::step]


def ladder(
    pairs: Sequence[tuple[Clip, Reference]],
    cloned: Cloned,
    folder: Path,
    options: dict[str, Any],
    speak: Callable[[Task], Take],
) -> Iterator[Take]:
    """All rungs of every recording; the decoder's is left out where the training weights lack."""
    for clip, reference in pairs:
        voice = cloned.voice(reference)
        if voice is None:
            continue
        line = Line(f"{clip.speaker}-{clip.path.stem}", clip.text, clip.language)
        task = Task(RUNGS[0], line, voice, reference, _transcript(reference), options=options)
        yield Take(task, clip.wave())
        rebuilt = _from_latents(clip, voice, cloned)
        if rebuilt is not None:
            yield Take(replace(task, row=RUNGS[1]), rebuilt)
        began = time.perf_counter()
        made = tts.convert(clip.file(folder), voice, model=cloned.model, seed=0)
        spent = time.perf_counter() - began
        wave = audio.resample(made.audio, made.sample_rate, sets.RATE)
        yield Take(replace(task, row=RUNGS[2]), wave, spent)
        yield speak(replace(task, row=RUNGS[3]))


def _from_latents(clip: Clip, voice: Voice, cloned: Cloned) -> Any:
    models = tts.pipeline(cloned.model).models
    try:
        wave, rate = models.reconstruct(clip.wave(), voice.speaker)
    except ValueError as error:
        return _once(cloned, f"no decoder rung: {error}")
    return audio.resample(wave, rate, sets.RATE)


def _once(cloned: Cloned, note: str) -> None:
    if note not in cloned.notes:
        cloned.notes.append(note)


def own_speech(known: dict[str, Reference], clips: Sequence[Clip], most: int) -> Iterator[Take]:
    """What the built-in voices' own speakers said, `most` clips each, from short to long: as like themselves as speech of
    that length can be.
    """
    for reference in known.values():
        mine = [
            clip
            for clip in clips
            if (clip.corpus, clip.speaker) == (reference.corpus, reference.speaker)
            and clip.path != reference.clip.path
        ]
        mine.sort(key=lambda clip: (clip.seconds, str(clip.path)))
        for clip in mine[:: max(1, -(-len(mine) // most))]:
            line = Line(f"{clip.speaker}-{clip.path.stem}", clip.text, clip.language)
            yield Take(Task(OWN, line, None, reference), clip.wave())


def builtin_references(path: Path, pool: Sequence[Reference]) -> dict[str, Reference]:
    """Whom the built-in voices were made from: a TSV of voice, corpus, speaker."""
    if not path.is_file():
        return {}
    named = {reference.name: reference for reference in pool}
    known: dict[str, Reference] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        voice, corpus, speaker = line.split("\t")[:3]
        if f"{corpus}/{speaker}" in named:
            known[voice] = named[f"{corpus}/{speaker}"]
    return known
