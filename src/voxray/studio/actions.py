"""What the page's buttons do: plain functions that a test or a script can call without a browser.

A `Studio` holds settings, voices, takes and the one lock on the models: probes attach to the running
model, so one thing is done at a time. Everything is said through the engine, in the owner's name, and
no voice of a person speaks without consent on record, whatever the policy says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from .. import steer
from ..engine import Stream, check_options, tts
from ..explain import replay
from ..explain.replay import Spoken
from ..explain.why import Why
from ..explain.why import why as explained
from ..pipeline import Pipeline
from ..serve.auth import LOCAL
from ..serve.errors import Problem
from ..serve.uploads import kept
from ..steer.checks import PITCH_SITE
from ..synthesis import Synthesis
from ..trust import access
from ..trust.verify import Finding, examine
from .settings import Settings
from .strings import Fault
from .takes import Shelf, Take
from .uploads import uploaded
from .voices import Cast

log = logging.getLogger("voxray.studio")
RAISED, LOUDER, SLOWER = 3.0, 4.0, 0.15  # semitones, dB, share: at emphasis 1
NONE = 0.0


@dataclass(frozen=True)
class Changes:
    """What is to be different: by word number, head ("layer.head") and concept."""

    emphasis: Mapping[int, float] = field(default_factory=dict)  # -1 .. 1; 0: none
    attention: Mapping[int, float] = field(default_factory=dict)  # dose; 1: none
    heads: Mapping[str, float] = field(default_factory=dict)  # gain; 1: none
    concepts: Mapping[str, float] = field(default_factory=dict)  # amount; 0: none

    def __bool__(self) -> bool:
        return bool(self.emphasis or self.attention or self.heads or self.concepts)


@dataclass(frozen=True)
class Asked:
    """What is to be said. `seed` None: a fresh one."""

    text: str
    voice: str
    seed: int | None = None
    speed: float = 1.0
    temperature: float | None = None
    changes: Changes = field(default_factory=Changes)


class Studio:
    """What all pages of a studio share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cast = Cast(settings)
        self.shelf = Shelf(settings.most_takes)
        self.models = Lock()

    def pipeline(self, model: Path | None) -> Pipeline:
        """A model's pipeline; the studio shows tokens, so the model must have some."""
        found = tts.pipeline(model)
        if not isinstance(found, Pipeline):
            raise ValueError("the studio shows speech tokens; this model makes none")
        return found

    def concepts(self) -> dict[str, steer.Edits]:
        """Built-in concepts and those in the folder that fit the studio's model, by name."""
        models = self.pipeline(self.settings.model).models
        found = {}
        folders = (steer.BUILTIN, self.settings.concepts)
        for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
            try:
                edits = steer.load(path)
                edits.check(models)
            except (ValueError, OSError) as error:
                log.warning("concept left out: %s", error)
                continue
            for edit in edits.edits:
                if isinstance(edit, steer.Concept):
                    found[edit.name] = steer.Edits(model=edits.model, edits=(edit,))
        return found


def check_text(studio: Studio, text: str) -> str:
    """The text, or what is wrong with its length."""
    if not text.strip():
        raise Problem("text-empty", "the text is empty: type what is to be said")
    most = studio.settings.most_characters
    if len(text) > most:
        raise Problem("text-too-long", f"the text has {len(text)} characters; {most} are allowed")
    return text


def speak(studio: Studio, asked: Asked) -> Iterator[float | Take]:
    """How much has been said, 0 .. 1, again and again; at last the take."""
    check_text(studio, asked.text)
    voice, model = studio.cast.speaker(asked.voice, asked.text)
    home = model or studio.settings.model
    with studio.models:
        pipeline = studio.pipeline(home)
        edits = edits_of(studio, pipeline, asked.changes)
        options: dict[str, Any] = {"seed": asked.seed, "speed": asked.speed, "edits": edits}
        if asked.temperature is not None:
            options["temperature"] = asked.temperature
        with access.calling(LOCAL):
            stream = tts.stream(asked.text, voice, model=home, **options)
    yield from _slices(studio, stream)
    made = stream.synthesis
    full = check_options({**options, "seed": made.seed}).suited(pipeline.models.config)
    take = Take(made, voice, full, home, asked.voice or voice.name, records=(made.record,))
    with studio.models:
        take = replace(take, entropy=entropies(spoken_of(studio, take)))
    yield studio.shelf.add(take)


def _slices(studio: Studio, stream: Stream) -> Iterator[float]:
    """The stream to its end. The models are held for one slice at a time: who stops waiting may leave
    the generator where it is, and nothing stays locked.
    """
    try:
        while True:
            with studio.models:
                if next(stream, None) is None:
                    return
            yield min(stream.progress, 1.0)
    except BaseException:  # refused on the way, or nobody waits any more
        with suppress(ValueError, OSError):
            stream.close()
        raise


def finished(steps: Iterator[float | Take]) -> Take:
    """The take at the end of `speak`."""
    *_, last = steps
    assert isinstance(last, Take)
    return last


def spoken_of(studio: Studio, take: Take) -> Spoken:
    """A take, opened for questions."""
    if take.speakers:
        raise Fault("unsupported", "script-whole")
    return replay.spoken(studio.pipeline(take.model), take.voice, take.options, take.synthesis)


@torch.inference_mode()
def entropies(speech: Spoken) -> NDArray[np.float32]:
    """How open the choice of each token was, nats [S]."""
    parts = []
    for passage in speech.passages:
        chances = replay.read(speech, passage)[0].float().log_softmax(-1)  # [S, K+1]
        parts.append(-(chances.exp() * chances.clamp_min(-1e4)).sum(-1).numpy())
    return np.concatenate(parts).astype(np.float32)


def ask(
    studio: Studio, identifier: str | None, *, at: float | None = None, word: int | None = None
) -> Why:
    """Why does a moment (or a word) sound as it does? Answered by interventions."""
    take = studio.shelf.find(identifier)
    with access.calling(LOCAL), studio.models:
        speech = spoken_of(studio, take)
        return explained(speech, at=at, word=word, draws=studio.settings.draws)


def edits_of(studio: Studio, pipeline: Pipeline, changes: Changes) -> steer.Edits | None:
    """The edits that changes come down to; None where nothing is changed."""
    made: list[steer.Edit] = []
    pitch = PITCH_SITE in steer.known_sites(pipeline.models)
    try:
        for word, amount in changes.emphasis.items():
            made.append(
                steer.Prosody(
                    word=word, semitones=RAISED * amount if pitch else NONE,
                    decibels=LOUDER * amount, rate=1.0 - SLOWER * amount,
                )
            )  # fmt: skip
        for word, dose in changes.attention.items():
            made.append(steer.Emphasis(word=word, dose=dose))
        for name, gain in changes.heads.items():
            layer, _, head = name.partition(".")
            site = f"gpt.blocks.{int(layer)}.attn.z"
            made.append(steer.HeadGain(site=site, head=int(head), gain=gain))
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from error
    edits = steer.Edits(edits=tuple(made))  # type: ignore[arg-type]
    known = studio.concepts() if changes.concepts else {}
    for name, amount in changes.concepts.items():
        if name not in known:
            raise ValueError(f"there is no concept {name!r} for this model any more")
        edits = edits + _scaled(known[name], amount)
    if not edits.edits:
        return None
    edits.check(pipeline.models)
    return edits


def _scaled(edits: steer.Edits, amount: float) -> steer.Edits:
    scaled = tuple(edit.model_copy(update={"amount": amount * edit.amount})
                   for edit in edits.edits if isinstance(edit, steer.Concept))  # fmt: skip
    return edits.model_copy(update={"edits": scaled})


def heads(studio: Studio) -> list[str]:
    """Every head of the studio's GPT, as "layer.head"."""
    config = studio.pipeline(studio.settings.model).models.gpt.config
    return [f"{layer}.{head}" for layer in range(config.n_layer) for head in range(config.n_head)]


def verify(studio: Studio, path: str | Path | None) -> Finding:
    """What can be said of a file: proven, likely, unknown."""
    data = uploaded(studio.settings, path)
    with access.calling(LOCAL), kept(data, studio.settings.most_decoded) as copy:
        return examine(copy)


@dataclass(frozen=True)
class Spot:
    """A word as it was said: seconds, median F0 in Hz (0: unvoiced), level in dB."""

    text: str
    seconds: float
    hertz: float
    decibels: float


def spots(made: Synthesis, f0: NDArray[np.float32], hop: float = 0.01) -> list[Spot]:
    """Every word, measured."""
    found = []
    for word in made.words:
        a, b = (round(t * made.sample_rate) for t in (word.start_s, word.end_s))
        tones = f0[round(word.start_s / hop) : max(1, round(word.end_s / hop))]
        tones = tones[tones > 0]
        said = made.audio[a:b].astype(np.float64)
        power = float(np.mean(said**2)) if len(said) else 0.0
        found.append(
            Spot(
                word.text, word.end_s - word.start_s,
                float(np.median(tones)) if len(tones) else 0.0,
                10 * float(np.log10(max(power, 1e-9))),
            )
        )  # fmt: skip
    return found
