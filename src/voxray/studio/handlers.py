"""Between the page and the actions: values of components in, what components show out.

Every handler's first output is the panel's one line about how it went. A refusal or a fault of the
input becomes that line (an alert); the other components stay as they are. No Gradio event names a path:
files come as Gradio's own copies of what was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr

from ..engine import default_voice
from . import answers, figures
from .actions import Asked, Changes, Studio, ask, speak, verify
from .script import speak_script
from .strings import Fault, Words
from .takes import Take
from .tuning import Tuner, Wanted
from .voices import NewVoice, make_voice, prompt, written

Made = dict[str, dict[Any, float]]  # changes as the page keeps them


def empty() -> Made:
    """No changes."""
    return {"emphasis": {}, "attention": {}, "heads": {}, "concepts": {}}


def told(outputs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turn failures into the first output; `outputs` counts it."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(self: Handlers, *given: Any) -> Any:
            try:
                return function(self, *given)
            except Exception as error:  # noqa: BLE001 - told to the reader, logged if not foreseen
                return self.failed(error, outputs)

        return call

    return decorate


class Handlers:
    """What the events of one page call."""

    def __init__(self, studio: Studio, tuner: Tuner, words: Words) -> None:
        self.studio, self.tuner, self.words = studio, tuner, words

    def failed(self, error: BaseException, outputs: int) -> Any:
        """The line about a failure; all else stays."""
        line = figures.note(self.words.error(error), "error")
        return line if outputs == 1 else [line, *[gr.skip() for _ in range(outputs - 1)]]

    def info(self, text: str) -> str:
        """A line that is no failure."""
        return figures.note(text)

    # speak: status, player, take, rest of the panel, word, moment, answer, second player, comparison,
    # changes as kept and as shown, emphasis, attention

    def speak(
        self,
        text: str,
        voice: str,
        seed: str,
        speed: float,
        temperature: float,
        made: Made,
    ) -> Iterator[list[Any]]:
        """Say it; progress on the way. Changes to words end with the text that they were made for."""
        kept: Made = {**(made or empty()), "emphasis": {}, "attention": {}}

        def show(take: Take, seconds: float) -> list[Any]:
            names = [(word.text, number) for number, word in enumerate(take.synthesis.words)]
            return [
                self.info(self.words("spoken", seconds=f"{seconds:.1f}")),
                figures.player(take, self.words, self.words("take.a")),
                take.id, gr.update(visible=True), gr.update(choices=names, value=None),
                gr.update(value=0, maximum=round(take.synthesis.seconds, 2)), "", "", "",
                kept, self.shown(kept, take.id), 0.0, 1.0,
            ]  # fmt: skip

        def steps() -> Iterator[float | Take]:
            number = seed_of(seed)
            asked = Asked(text or "", voice or "", number, speed, temperature or None)
            return speak(self.studio, asked)

        yield from self._run(steps, show, 13)

    def script(self, text: str, cast: str, seed: str, speed: float) -> Iterator[list[Any]]:
        """Say a script; status and player."""

        def steps() -> Iterator[float | Take]:
            return speak_script(self.studio, text or "", cast or "", seed_of(seed), speed)

        yield from self._run(steps, self._scripted, 2)

    def _scripted(self, take: Take, seconds: float) -> list[Any]:
        return [
            self.info(self.words("spoken", seconds=f"{seconds:.1f}")),
            figures.player(take, self.words),
        ]

    def _run(
        self,
        steps: Callable[[], Iterator[float | Take]],
        show: Callable[[Take, float], list[Any]],
        outputs: int,
    ) -> Iterator[list[Any]]:
        began = time.monotonic()
        rest = [gr.skip() for _ in range(outputs - 1)]
        yield [self.info(self.words("waiting")), *rest]
        try:
            for step in steps():
                if isinstance(step, Take):
                    yield show(step, time.monotonic() - began)
                else:
                    line = self.words("speaking", share=f"{step:.0%}")
                    yield [self.info(line), *rest]
        except Exception as error:  # noqa: BLE001 - told to the reader, logged if not foreseen
            yield self.failed(error, outputs)

    # why, and what is picked

    def picked(self, event: gr.EventData) -> tuple[Any, Any]:
        """A click in the picture: moment and word."""
        data = event._data if isinstance(event._data, dict) else {}
        at, word = data.get("at"), data.get("word")
        if not isinstance(at, (int, float)) or not isinstance(word, int):
            return gr.skip(), gr.skip()
        return round(float(at), 2), word if word >= 0 else None

    @told(2)
    def why(self, take: str | None, at: float | None, word: int | None, by_word: bool) -> list[str]:
        """Status and answer."""
        if by_word and word is None:
            raise ValueError(self.words("need.word"))
        made = (
            ask(self.studio, take, word=word) if by_word else ask(self.studio, take, at=at or 0.0)
        )
        return [self.info(self.words("why.done")), answers.answer(made, self.words)]

    def asking(self) -> str:
        """While the answer is on its way."""
        return self.info(self.words("why.asking"))

    # changes

    def changed(
        self, part: str, key: Any, value: float, neutral: float, made: Made, take: str | None
    ) -> list[Any]:
        """A slider moved: changes as kept, and as shown."""
        made = {name: dict(values) for name, values in (made or empty()).items()}
        if key is None:
            missing = figures.note(self.words("need.word"), "error") if value != neutral else ""
            return [made, missing + self.shown(made, take)]
        made[part].pop(key, None)
        if abs(value - neutral) > 1e-6:
            made[part][key] = float(value)
        return [made, self.shown(made, take)]

    def shown(self, made: Made, take: str | None) -> str:
        """The list of changes."""
        try:
            names = [word.text for word in self.studio.shelf.find(take).synthesis.words]
        except ValueError:
            names = []
        return figures.changes(figures.told_changes(names, made, self.words), self.words)

    def sliders(self, word: int | None, made: Made) -> list[float]:
        """The word's sliders as they were left: emphasis, attention."""
        return [made["emphasis"].get(word, 0.0), made["attention"].get(word, 1.0)]

    def hear(
        self, take: str | None, made: Made, word: int | None = None, emphasis: float = 0.0,
        attention: float = 1.0,
    ) -> Iterator[list[Any]]:  # fmt: skip
        """Say the same with the changes: status, second player, comparison. The word's sliders are given
        once more: who is quick may have moved them a moment ago.
        """
        try:
            first = self.studio.shelf.find(take)
            made, _ = self.changed("emphasis", word, emphasis, 0.0, made, take)
            made, _ = self.changed("attention", word, attention, 1.0, made, take)
            changes = Changes(**made)
            if not changes:
                raise ValueError(self.words("need.change"))
        except ValueError as error:
            yield self.failed(error, 3)
            return

        def show(second: Take, seconds: float) -> list[Any]:
            return [
                self.info(self.words("spoken", seconds=f"{seconds:.1f}")),
                figures.player(second, self.words, self.words("take.b")),
                figures.comparison(first, second, self.words),
            ]

        yield from self._run(lambda: speak(self.studio, again(first, changes)), show, 3)

    # voices

    def agreement(self, language: str, who: str, purposes: list[str]) -> str:
        """The text that a speaker agrees to."""
        text = written(language, who or "", purposes or [])
        return f'<p class="agreement">{figures.escape(text)}</p>'

    @told(3)
    def sentence(self, language: str) -> list[Any]:
        """Status, the sentence to read, its number."""
        asked = prompt(language)
        box = (
            f"<p>{figures.escape(self.words('voice.sentence'))}</p>"
            f'<p class="sentence-box">{figures.escape(asked.sentence)}</p>'
        )
        return ["", box, asked.number]

    @told(4)
    def make_voice(
        self, name: str, who: str, sample: str | None, transcript: str, purposes: list[str],
        kind: str, language: str, number: str, read: str | None, agreed: bool,
    ) -> list[Any]:  # fmt: skip
        """Status, table, choices of voices, choices of one's own."""
        new = NewVoice(
            (name or "").strip(), who or "", sample, kind, read, number or "", bool(agreed),
            transcript or "", purposes or [], language,
        )  # fmt: skip
        given = make_voice(self.studio, new)
        line = self.info(self.words("voice.made", name=new.name, id=given.id))
        return [line, *self.voices(chosen=new.name)]

    @told(4)
    def withdraw(self, name: str | None) -> list[Any]:
        """End the consents to a voice."""
        count = self.studio.cast.withdraw(name or "")
        return [self.info(self.words("voices.withdrawn", name=name, count=count)), *self.voices()]

    @told(4)
    def delete(self, name: str | None) -> list[Any]:
        """Forget a voice."""
        self.studio.cast.delete(name or "")
        return [self.info(self.words("voices.deleted", name=name)), *self.voices()]

    def voices(self, chosen: str | None = None) -> list[Any]:
        """Table of one's own voices, choices of all, choices of one's own."""
        every = {} if chosen is None else {"value": chosen}
        return [
            self.table(),
            gr.update(choices=self.choices(), **every),
            gr.update(choices=self.studio.cast.own(), value=None),
        ]

    def table(self) -> str:
        """One's own voices and the state of the consent to each."""
        cast = self.studio.cast
        rows = []
        for name, kind in cast.names().items():
            if kind == "built in":
                continue
            try:
                rows.append((name, kind, cast.state(name)))
            except (ValueError, OSError):
                rows.append((name, kind, "missing"))  # a file that cannot be read
        return figures.voices(rows, self.words)

    def choices(self) -> list[tuple[str, str]]:
        """Label and name of every voice."""
        return [
            (f"{name.partition(':')[2] or name} ({self.words('kind.' + kind)})", name)
            for name, kind in self.studio.cast.names().items()
        ]

    def usual(self) -> str | None:
        """The voice that the page begins with: one of the page's language."""
        names = self.studio.cast.names()
        try:
            return default_voice(self.words("text.example"))
        except ValueError:  # no built-in voices in this installation
            return next(iter(names), None)

    # verify, tune

    @told(2)
    def verify(self, path: str | None) -> list[str]:
        """Status and finding."""
        return ["", answers.finding(verify(self.studio, path), self.words)]

    @told(3)
    def start(
        self, name: str, who: str, recordings: list[str] | None, transcripts: str | None,
        language: str, minutes: float, limit: float, purposes: list[str], agreed: bool,
    ) -> list[Any]:  # fmt: skip
        """Status, progress, timer."""
        wanted = Wanted(
            (name or "").strip(), who or "", recordings or [], bool(agreed), transcripts, language,
            minutes, limit, purposes or [],
        )  # fmt: skip
        report = self.tuner.start(wanted)
        return ["", figures.tuning(report, self.words), gr.Timer(active=True)]

    def progress(self) -> list[Any]:
        """Progress; the timer rests when nothing runs."""
        report = self.tuner.report()
        return [figures.tuning(report, self.words), gr.Timer(active=report.state == "running")]

    def end(self) -> list[Any]:
        """End the run: progress and timer."""
        self.tuner.stop()
        return self.progress()


def again(first: Take, changes: Changes) -> Asked:
    """The same request with changes: same seed, same dice."""
    options = first.options
    return Asked(
        first.synthesis.text, first.voice_name, first.synthesis.seed, options.speed,
        options.temperature, changes,
    )  # fmt: skip


def seed_of(text: str) -> int | None:
    """A whole number from a field that may be empty."""
    if not (text or "").strip():
        return None
    try:
        return int(text)
    except ValueError as error:
        raise Fault("bad-request", "seed", text=f"{text.strip()!r:.40}") from error
