"""Why does the pitch rise here? Causes ranked by what happens without them, and one sentence.

In: speech (`Spoken`) and an event: a time, or a word and a property. Out: `Why`: the event, every
candidate with its effect (clean - without it, in the event's unit, mean over draws of shared dice, 95 %
bootstrap interval) and the share of the event it takes away, the way by which it works, a sentence. The
tokens before the event are held: what led to them is not asked. A cause is named only if its interval
leaves out zero, it takes away a quarter of the event or more, and it stands out among its kind.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics as plain_statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..steer import Edits, HeadGain
from ..steer.words import find_word
from . import events as found
from .candidates import in_the_generator, in_the_gpt, usual
from .controls import controls
from .events import Curves, Event
from .mediation import Mediation, mediate
from .patching import CLEAN, Change, Rollout, curves, rollouts
from .replay import Passage, Spoken
from .statistics import LEAST, Interval, bootstrap

LEAD = 2  # tokens before the word from which the runs may differ
TAIL = 8  # tokens after it that are still said, for a word that becomes longer
LEAST_SHARE = 0.25
STANDS_OUT = 2.0  # times the median of its kind
DRAWS = 6


@dataclass(frozen=True)
class Cause:
    """One candidate. `effects` are per draw; `share` of the event; `control` another of its kind."""

    kind: str
    name: str
    effect: float
    interval: Interval | None
    share: float
    control: float  # median share of the other candidates of its kind
    effects: tuple[float, ...]

    @property
    def certain(self) -> bool:
        """Whether it may be named as a cause."""
        if self.interval is None or self.share < LEAST_SHARE:
            return False
        clear = min(abs(self.interval.low), abs(self.interval.high)) > 0
        same_side = self.interval.low * self.interval.high > 0
        return clear and same_side and self.share >= STANDS_OUT * self.control

    @property
    def title(self) -> str:
        """In words."""
        names = {
            "word": f"the word {self.name!r}", "mark": f"the mark {self.name!r}",
            "head": f"head {self.name} of the GPT", "layer": f"layer {self.name} of the GPT",
            "token": f"token {self.name}", "prior head": f"head {self.name} of the prior",
            "coupling": f"coupling {self.name} of the flow", "dice": "the dice",
        }  # fmt: skip
        return names.get(self.kind, self.name)


@dataclass(frozen=True)
class Claim:
    """A sentence and the interventions behind it; without any it calls itself correlational."""

    text: str
    interventions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text if self.interventions else f"correlational: {self.text}"


@dataclass(frozen=True)
class Why:
    """An answer: the event, causes from the strongest down, mediation of the best word or mark."""

    event: Event
    causes: tuple[Cause, ...]
    mediation: Mediation | None
    mediated: str
    claim: Claim
    seed: int
    model: str
    seconds: float  # what it cost
    draws: int
    edits: Edits = field(default_factory=Edits)  # takes the best head away, to replay

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return str(self.claim)

    @property
    def best(self) -> Cause | None:
        """The strongest cause that may be named."""
        return next((cause for cause in self.causes if cause.certain), None)

    def of(self, kind: str) -> list[Cause]:
        """Candidates of one kind, the strongest first."""
        return [cause for cause in self.causes if cause.kind == kind]

    def to_json(self) -> dict[str, Any]:
        """Every number."""
        event = self.event
        return {
            "kind": "why",
            "answer": self.sentence,
            "event": {"name": event.name, "word": event.text, "size": event.size,
                      "unit": event.unit, "start": event.start_s, "end": event.end_s},
            "causes": [
                {"kind": c.kind, "name": c.name, "effect": c.effect, "share": c.share,
                 "interval": c.interval and c.interval.to_json(), "control": c.control,
                 "certain": c.certain}
                for c in self.causes
            ],
            "mediation": self.mediation and {"of": self.mediated, **self.mediation.to_json()},
            "seed": self.seed, "model": self.model, "draws": self.draws,
            "seconds": round(self.seconds, 3), "edits": self.edits.record(),
            "interventions": list(self.claim.interventions),
        }  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all."""
        target = Path(path)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            text = json.dumps(self.to_json(), ensure_ascii=False, indent=1)
            part.write_text(text + "\n", encoding="utf-8")
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


def why(
    speech: Spoken,
    *,
    at: float | None = None,
    word: str | int | None = None,
    what: str | None = None,
    occurrence: int = 1,
    draws: int = DRAWS,
) -> Why:
    """Explain what stands out at a time, or `what` (pitch, loudness, pause) of a word."""
    began = time.perf_counter()
    if (at is None) == (word is None):
        raise ValueError("say where: either a time, or a word")
    if draws < LEAST:
        raise ValueError(f"an interval needs {LEAST} draws or more, not {draws}")
    passage, event = _event(speech, at, word, what, occurrence)
    runs = _Runs(speech, passage, event, draws)
    causes = runs.causes()
    mediation, mediated = runs.mediation(causes)
    claim = _claim(event, causes, mediation, mediated)
    return Why(
        event, tuple(causes), mediation, mediated, claim, speech.synthesis.seed,
        speech.models.name, time.perf_counter() - began, draws, runs.edits(causes),
    )  # fmt: skip


def events_of(speech: Spoken, passage: Passage) -> list[Event]:
    """What stands out in a passage, as the generator made it."""
    run = Rollout(passage.tokens, passage.path)
    made = curves(speech, passage, [run], CLEAN, loud=True)[0]
    return _find(speech, passage, made)


def _find(speech: Spoken, passage: Passage, made: Curves) -> list[Event]:
    names = [word.text for word in speech.synthesis.words]
    times = [(word.start_s, word.end_s) for word in speech.synthesis.words]
    return found.find(passage, made, names, times, token_seconds(speech))


def token_seconds(speech: Spoken) -> float:
    """Length of a token at normal speed."""
    generator = speech.models.generator.config
    return 2 * generator.hop / generator.sample_rate


def _event(
    speech: Spoken, at: float | None, word: str | int | None, what: str | None, occurrence: int
) -> tuple[Passage, Event]:
    made = speech.synthesis
    if word is not None:
        number = find_word(made.phonemes, word, occurrence)
        passage = next((p for p in speech.passages if number in p.words), None)
        if passage is None:
            raise ValueError(f"the word {word!r} was not said")
        events = [e for e in events_of(speech, passage) if e.word == number]
        events = [e for e in events if what is None or e.measure.kind == what]
        found.measure_of(passage, number, what or "pitch", 0.04)  # an unknown property is an error
        if not events:
            raise ValueError(f"nothing stands out in {what or 'the sound'} at {word!r}")
        return passage, events[0]
    pairs = [(p, e) for p in speech.passages for e in events_of(speech, p)]
    pairs = [(p, e) for p, e in pairs if what is None or e.measure.kind == what]
    pairs.sort(key=lambda pair: -pair[1].strength)
    event = found.at([e for _, e in pairs], float(at or 0.0), made.seconds)
    return next(pair for pair in pairs if pair[1] is event)


class _Runs:
    """All runs of one question, made once and shared."""

    def __init__(self, speech: Spoken, passage: Passage, event: Event, draws: int) -> None:
        self.speech, self.passage, self.event, self.draws = speech, passage, event, draws
        mine = [i for i, at in enumerate(passage.path) if at in event.measure.phonemes]
        self.said = tuple(passage.tokens[i] for i in mine)
        self.begin = max(1, mine[0] - LEAD)
        self.end = min(len(passage.tokens), mine[-1] + 1 + TAIL)
        self.loud = event.measure.kind == "loudness"
        self.changes = list(in_the_gpt(speech, passage, self.begin))
        every = rollouts(speech, passage, [CLEAN, *self.changes], self.begin, self.end, draws)
        self.clean, self.changed = every[0], every[1:]
        self.plain = self.measured(self.clean, CLEAN)

    def measured(
        self, runs: Sequence[Rollout], change: Change, *, new_dice: bool = False
    ) -> np.ndarray:
        """The event's measure of each run."""
        if self.event.measure.kind == "pause":  # the generator does not move it
            empty = [Curves(np.zeros(0), np.zeros(0), run.path) for run in runs]
            return np.array([self.event.measure(curve) for curve in empty])
        made = curves(self.speech, self.passage, runs, change, loud=self.loud,
                      new_dice=new_dice)  # fmt: skip
        return np.array([self.event.measure(curve) for curve in made])

    def causes(self) -> list[Cause]:
        """Every candidate, the strongest first."""
        effects: dict[tuple[str, str], np.ndarray] = {}
        for change, runs in zip(self.changes, self.changed, strict=True):
            effects[change.kind, change.name] = self.plain - self.measured(runs, change)
        passage, end = self.passage, self.end
        spoken = [Rollout(passage.tokens[:end], passage.path[:end])] * self.draws
        if (
            self.event.measure.kind != "pause"
        ):  # the tokens as they were said, other dice of the sound
            heard = self.measured(spoken, CLEAN, new_dice=True)
            inner = in_the_generator(self.speech, passage, self.begin, self.said)
            for change in inner:
                made = self.measured(spoken, change, new_dice=True)
                effects[change.kind, change.name] = heard - made
        said = self.measured(spoken[:1], CLEAN)
        effects["dice", ""] = said[0] - self.plain[1:]
        for name, effect in controls(self.speech, self.passage, self.event):
            effects["control", name] = np.array(
                [effect] * LEAST
            )  # no dice in it: the same each time
        return self._ranked(effects)

    def _ranked(self, effects: dict[tuple[str, str], np.ndarray]) -> list[Cause]:
        sign = float(np.sign(self.event.size))
        sizes = {
            key: sign * float(np.mean(values[np.isfinite(values)]))
            if np.isfinite(values).any() else 0.0
            for key, values in effects.items()
        }  # fmt: skip
        whole = abs(self.event.size)
        made = []
        for (kind, name), values in effects.items():
            others = [abs(size) / whole for key, size in sizes.items()
                      if key[0] == kind and key[1] != name]  # fmt: skip
            control = plain_statistics.median(others) if others else 0.0
            kept = sign * values[np.isfinite(values)]
            interval = bootstrap(kept) if len(kept) >= LEAST else None
            size = sizes[kind, name]
            made.append(
                Cause(kind, name, size, interval, size / whole, control, tuple(kept.tolist()))
            )
        return sorted(made, key=lambda cause: -cause.effect)

    def mediation(self, causes: Sequence[Cause]) -> tuple[Mediation | None, str]:
        """The 2 x 2 of the strongest word or mark: it alone reaches both halves of the model."""
        best = next((cause for cause in causes if cause.kind in ("word", "mark")), None)
        if best is None:
            return None, ""
        place = next(
            i for i, c in enumerate(self.changes) if (c.kind, c.name) == (best.kind, best.name)
        )
        change, runs = self.changes[place], self.changed[place]
        cells = [self.plain, self.measured(runs, CLEAN), self.measured(self.clean, change),
                 self.measured(runs, change)]  # fmt: skip
        try:
            return mediate(*cells), best.title
        except ValueError:
            return None, best.title

    def edits(self, causes: Sequence[Cause]) -> Edits:
        """Take the strongest head away by an edit that anybody can replay."""
        best = next((cause for cause in causes if cause.kind == "head"), None)
        if best is None:
            return Edits()
        layer, head = (int(part) for part in best.name.split("."))
        mean = usual(self.speech, self.passage).heads[layer][head]
        gain = HeadGain(
            site=f"gpt.blocks.{layer}.attn.z", head=head, gain=0.0,
            mean=tuple(float(x) for x in mean), steps=(self.begin, self.end),
        )  # fmt: skip
        return Edits(
            model=self.speech.models.name, note="why: without the strongest head", edits=(gain,)
        )


def _claim(
    event: Event, causes: Sequence[Cause], mediation: Mediation | None, mediated: str
) -> Claim:
    verbs = {"rise": "rises", "fall": "falls", "louder": "is louder", "softer": "is softer",
             "pause": "is followed by a pause"}  # fmt: skip
    by = "of" if event.name == "pause" else "by"
    head = f"{event.text!r} {verbs[event.name]} {by} {abs(event.size):.2f} {event.unit}"
    tried = tuple(f"{cause.kind} {cause.name}".strip() for cause in causes)
    best = next((cause for cause in causes if cause.certain), None)
    if best is None or best.interval is None:
        strongest = f" (the strongest, {causes[0].title}: {causes[0].share:.0%})" if causes else ""
        return Claim(f"{head}; no single cause stands out{strongest}.", tried)
    low, high = best.interval.low, best.interval.high
    said = (
        f"{head}; without {best.title} {best.share:.0%} of that is gone "
        f"(effect {best.effect:.2f} {event.unit} [{low:.2f}, {high:.2f}], n = {best.interval.count}; "
        f"others of its kind {best.control:.0%})"
    )
    if mediation is not None and mediation.total and best.title == mediated:
        shares = mediation.shares()
        said += (
            f"; {shares['gpt']:.0%} of it through the tokens, {shares['generator']:.0%} in the "
            f"generator directly, {shares['interaction']:.0%} by both together"
        )
    return Claim(f"{said}.", tried)
