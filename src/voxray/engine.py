"""The gate: the public `tts`, and the only place that writes synthetic audio.

    synthesis = tts("Hello.", "anna")      # text + voice (name, file or Voice) -> Synthesis
    for chunk in tts.stream(text, voice): ...                  # float32 chunks as they are made
    save(synthesis, "hello.flac")

Hooks: `register(before=..., after=..., chunk=...)`. `before(request)` may refuse by raising;
`after(synthesis, request)` may mark and must record, and returns the synthesis to hand out;
`chunk(request)` returns a function that marks the chunks of a stream; if it has a `finish`, that
gives the samples it held back. `saved(synthesis, path)` sees every file. While an `after` hook has
no `chunk` of its own, streams are handed out only when they are whole: no audio passes unmarked.

`voxray.trust` stands at the gate before anything is said, whoever asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from . import audio
from .article.bundle import ArticleBundle, is_article
from .article.pipeline import ArticlePipeline
from .batching import Order, speak_many
from .bundle import Bundle, Precision
from .packaged import DEFAULT, home
from .pieces import check_text, check_words
from .pipeline import AudioStream, Pipeline, SynthesisOptions
from .synthesis import Synthesis
from .takes import check_takes
from .voice import Voice, builtin_names, find

Wave = NDArray[np.float32]
WAVE_CHUNK_SECONDS = 0.5
LONGEST_CONVERSION = 600.0  # seconds
KEPT = 4  # pipelines of models that were given as objects: who makes many models keeps only what is used


@dataclass(frozen=True)
class Request:
    """What is about to be said: hooks see it before and after."""

    text: str
    voice: Voice
    options: SynthesisOptions
    source: str = ""  # of a conversion: the name of the recording
    streamed: bool = False  # the audio is out already, marked by `chunk`: `after` only records
    rate: int = 0  # samples a second of what will be made
    id: str = field(default_factory=lambda: secrets.token_hex(8))  # the same before and after


Before = Callable[[Request], None]
After = Callable[[Synthesis, Request], Synthesis]
ChunkMark = Callable[[Wave], Wave]
Chunk = Callable[[Request], ChunkMark]
Saved = Callable[[Synthesis, Path], None]


@dataclass(frozen=True)
class Hook:
    """What stands at the gate."""

    before: Before | None = None
    after: After | None = None
    chunk: Chunk | None = None
    saved: Saved | None = None


_hooks: list[Hook] = []


def register(
    *,
    before: Before | None = None,
    after: After | None = None,
    chunk: Chunk | None = None,
    saved: Saved | None = None,
) -> Callable[[], None]:
    """Put hooks at the gate, behind those that stand there; call the result to take them away."""
    hook = Hook(before, after, chunk, saved)
    _hooks.append(hook)

    def remove() -> None:
        if hook in _hooks:
            _hooks.remove(hook)

    return remove


def hooks() -> tuple[Hook, ...]:
    """What stands at the gate."""
    return tuple(_hooks)


def _guard() -> None:
    """No entry point can forget trust: it is called for here, by name, to its right (design)."""
    import_module(f"{__package__}.trust").guard()


def _after(synthesis: Synthesis, request: Request) -> Synthesis:
    for hook in list(_hooks):
        if hook.after is not None:
            synthesis = hook.after(synthesis, request)
    return synthesis


def _before(request: Request) -> None:
    _guard()
    for hook in list(_hooks):
        if hook.before is not None:
            hook.before(request)


class Stream:
    """Audio as it is made, behind the gate. Iterate; `synthesis` is what has been made so far."""

    def __init__(self, inner: AudioStream, request: Request, *, shared: bool = False) -> None:
        self._inner = inner
        self._shared = shared
        self._request = request
        self._finished: Synthesis | None = None
        self._handed_out: list[Wave] = []
        self._chunks = self._run()

    def __iter__(self) -> Iterator[Wave]:
        return self

    def __next__(self) -> Wave:
        while True:
            chunk = next(self._chunks)
            if len(chunk) or self._shared:
                return chunk

    @property
    def sample_rate(self) -> int:
        """Of the chunks."""
        return self._inner.sample_rate

    @property
    def seed(self) -> int:
        """The seed in use, drawn if none was given."""
        return self._inner.seed

    @property
    def progress(self) -> float:
        """How much of the text has been spoken, 0 .. 1."""
        return self._inner.progress

    @property
    def synthesis(self) -> Synthesis:
        """The record of what has been handed out; after the end, as the hooks returned it."""
        return self._finished or self._so_far()

    def _so_far(self) -> Synthesis:
        audio = np.concatenate(self._handed_out or [np.zeros(0, np.float32)])
        return replace(self._inner.synthesis, audio=audio)

    def _streamed(self) -> Synthesis:
        return _after(self._so_far(), replace(self._request, streamed=True))

    def close(self) -> Synthesis:
        """End early; the hooks see (and record) what was handed out."""
        try:
            if self._finished is None:
                self._finished = self._streamed()
        finally:
            self._chunks.close()
            self._inner.close()
        return self._finished

    def _run(self) -> Generator[Wave, None, None]:
        """Sound, and an empty chunk for each turn without any (`__next__` drops it if unwanted)."""
        hooks = list(_hooks)
        if any(hook.after is not None and hook.chunk is None for hook in hooks):
            yield from self._whole()
            return
        marks = [hook.chunk(self._request) for hook in hooks if hook.chunk is not None]
        for chunk in self._inner:
            if not len(chunk):
                yield chunk
                continue
            for mark in marks:
                chunk = mark(chunk)
            yield from self._hand_out(chunk)
        yield from self._hand_out(_rest(marks))
        self._finished = self._streamed()

    def _hand_out(self, chunk: Wave) -> Iterator[Wave]:
        if len(chunk):
            self._handed_out.append(chunk)
            yield chunk

    def _whole(self) -> Iterator[Wave]:
        for chunk in self._inner:
            yield chunk[:0]
        self._finished = _after(self._inner.synthesis, self._request)
        step = round(WAVE_CHUNK_SECONDS * self.sample_rate)
        for begin in range(0, len(self._finished.audio), step):
            yield self._finished.audio[begin : begin + step]


def _rest(marks: list[ChunkMark]) -> Wave:
    """What the marks held back, each passed through those behind it."""
    rest = np.zeros(0, np.float32)
    for mark in marks:
        finish = getattr(mark, "finish", None)
        rest = mark(rest) if len(rest) else rest
        rest = rest if finish is None else np.concatenate([rest, finish()])
    return rest


class Speaker:
    """The callable `tts`. Loads a model when it is first needed, and keeps it."""

    def __init__(self) -> None:
        self._pipelines: dict[object, Pipeline] = {}
        self._given: list[
            object
        ] = []  # keys of models that were given as objects, the oldest first
        self._lock = Lock()

    def __call__(
        self,
        text: str,
        voice: Voice | str | Path | None = None,
        *,
        model: Bundle | str | Path | None = None,
        lexicon: str | Path | None = None,
        **options: Any,
    ) -> Synthesis:
        """Say `text` in `voice` (default: the first built-in one of the text's language).

        `model` is a folder or a `Bundle` (default: the built-in `mini`), `lexicon` a file of
        readings. The other options are the fields of `SynthesisOptions`: language, speed, seed,
        temperature, top_k, top_p, repetition_penalty, pause_ms, style, watch, stream, takes.
        """
        pipeline, request = self._request(text, voice, model, lexicon, options)
        made = pipeline.synthesise(request.text, request.voice, request.options)
        return _after(made, request)

    def stream(
        self,
        text: str,
        voice: Voice | str | Path | None = None,
        *,
        model: Bundle | str | Path | None = None,
        lexicon: str | Path | None = None,
        shared: bool = False,
        **options: Any,
    ) -> Stream:
        """Like calling, but audio comes out as it is made; the text is checked at once.

        `stream="early"` (default): a sentence sounds while its tokens are made, so that its first chunks
        come from a prior that has not read the rest, and is said once; "equal": its tokens are made first, and the stream
        is what calling gives (float32: within 1e-5; models without windows speak a sentence at a time).
        `shared`: streams that are advanced in turns make their tokens in one pass; a turn without
        sound gives an empty chunk.
        """
        pipeline, request = self._request(text, voice, model, lexicon, options)
        made = pipeline.stream(request.text, request.voice, request.options, shared=shared)
        return Stream(made, request, shared=shared)

    def many(
        self,
        texts: Sequence[str],
        voice: Voice | str | Path | Sequence[Voice | str | Path] | None = None,
        *,
        model: Bundle | str | Path | None = None,
        lexicon: str | Path | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> list[Synthesis]:
        """Say many texts side by side, in one voice or one each; published models gain most.

        Each text is said as if it were alone, with the same options (a seed, too).
        """
        alone = isinstance(voice, (Voice, str, Path)) or voice is None
        voices = [voice] * len(texts) if alone else list(voice)  # type: ignore[arg-type]
        if len(voices) != len(texts):
            raise ValueError(f"{len(texts)} texts, but {len(voices)} voices: give one or one each")
        asked = [
            self._request(text, chosen, model, lexicon, options)  # type: ignore[arg-type]
            for text, chosen in zip(texts, voices, strict=True)
        ]
        if not asked:
            return []
        orders = [Order(r.text, r.voice, r.options) for _, r in asked]
        pipeline = asked[0][0]
        if isinstance(pipeline, Pipeline):
            made = speak_many(pipeline, orders, batch_size)
        else:  # the article's, which makes no tokens
            made = [pipeline.synthesise(o.text, o.voice, o.options) for o in orders]
        return [_after(one, request) for one, (_, request) in zip(made, asked, strict=True)]

    def convert(
        self,
        source: str | Path,
        voice: Voice | str | Path,
        *,
        model: Bundle | str | Path | None = None,
        **options: Any,
    ) -> Synthesis:
        """Say what a recording says, as it says it, in another voice."""
        checked = check_options(options)
        wave, rate = audio.read_audio(source)
        if not 0.2 <= len(wave) / rate <= LONGEST_CONVERSION:
            raise ValueError(
                f"{source} is {len(wave) / rate:.2f} s; "
                f"0.2 to {LONGEST_CONVERSION:.0f} s can be converted at once"
            )
        pipeline = self.pipeline(model)
        speaker = find(voice, model=pipeline.models)
        request = Request("", speaker, checked, Path(source).name, rate=_rate(pipeline))
        _before(request)
        made = pipeline.convert(wave, rate, request.voice, checked)
        return _after(made, request)

    def pipeline(
        self, model: Bundle | str | Path | None = None, lexicon: str | Path | None = None
    ) -> Pipeline:
        """The pipeline for a model, loaded once. Of models given as objects the last few are kept."""
        given = isinstance(model, Bundle)
        key = (id(model) if given else model and str(model), lexicon)
        with self._lock:
            if key not in self._pipelines:
                self._pipelines[key] = _open(model, lexicon)
            if given:  # the newest is the last
                self._given = [*(other for other in self._given if other != key), key]
                for old in self._given[:-KEPT]:
                    self._pipelines.pop(old, None)
                self._given = self._given[-KEPT:]
            return self._pipelines[key]

    def use(
        self, model: str | Path, precision: Precision, lexicon: str | Path | None = None
    ) -> None:
        """Open a model with a precision; later requests that name it alike get it."""
        models = Bundle.load(model, precision=precision)
        with self._lock:
            for readings in (None, lexicon):
                self._pipelines[str(model), readings] = _piped(models, readings)

    def _request(
        self,
        text: str,
        voice: Voice | str | Path | None,
        model: Bundle | str | Path | None,
        lexicon: str | Path | None,
        options: dict[str, Any],
    ) -> tuple[Pipeline, Request]:
        text = check_text(text)
        checked = check_options(options)
        pipeline = self.pipeline(model, lexicon)
        if lexicon is None:
            check_words(text, pipeline.text.speaks)
        if "takes" in checked.model_fields_set and isinstance(pipeline, Pipeline):
            check_takes(pipeline.models, checked.takes)
        chosen = find(voice or default_voice(text), model=pipeline.models)
        request = Request(text, chosen, checked, rate=_rate(pipeline))
        _before(request)
        return pipeline, request


def _rate(pipeline: Pipeline) -> int:
    return pipeline.models.generator.config.sample_rate


def _open(model: Bundle | str | Path | None, lexicon: str | Path | None) -> Pipeline:
    if model is None:
        models = Bundle.builtin()
    elif isinstance(model, (str, Path)) and is_article(home(model)):
        article = ArticleBundle.load(home(model))
        return cast(Pipeline, ArticlePipeline(article, None if lexicon is None else Path(lexicon)))
    else:
        models = model if isinstance(model, Bundle) else _named(model)
    return _piped(models, lexicon)


def _named(model: str | Path) -> Bundle:
    """A model by its folder or its name; the default one is not read twice."""
    return Bundle.builtin() if home(model) == home(DEFAULT) else Bundle.load(model)


def _piped(models: Bundle, lexicon: str | Path | None) -> Pipeline:
    return Pipeline(models, models.text_pipeline(None if lexicon is None else Path(lexicon)))


def check_options(options: dict[str, Any]) -> SynthesisOptions:
    """Options from keyword arguments; what is wrong with them is said in one line."""
    try:
        return SynthesisOptions(**options).seeded()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "options"
        if first["type"] == "extra_forbidden":
            known = ", ".join(SynthesisOptions.model_fields)
            raise ValueError(f"unknown option {name!r}; there are: {known}") from error
        said = first["msg"][0].lower() + first["msg"][1:]
        raise ValueError(f"{name}: {said}, not {first['input']!r:.60}") from error


def default_voice(text: str) -> str:
    """The first built-in voice of the text's language (by script)."""
    names = builtin_names()
    if not names:
        raise ValueError("no built-in voices in this installation; give a voice or a recording")
    han = sum("\u3400" <= character <= "\u9fff" for character in text)
    wanted = "zh" if 3 * han > len(text.strip()) else "en"
    return next((name for name in names if Voice.builtin(name).language == wanted), names[0])


def save(synthesis: Synthesis, path: str | Path) -> None:
    """Write speech as wav, flac, mp3 or ogg by the name's ending, whole or not at all."""
    if not isinstance(synthesis, Synthesis):
        raise ValueError(f"save wants a Synthesis, not {type(synthesis).__name__}")
    audio.write_audio(path, synthesis.audio, synthesis.sample_rate)
    _saved(synthesis, Path(path))


def _saved(synthesis: Synthesis, path: Path) -> None:
    for hook in list(_hooks):
        if hook.saved is not None and path.is_file():
            hook.saved(synthesis, path)


def check_output(path: str | Path) -> None:
    """Say what is wrong with a file to be written before anything is said."""
    audio.AudioWriter(path, 24_000).discard()


def save_stream(
    stream: Stream, path: str | Path, progress: Callable[[float], None] | None = None
) -> Synthesis:
    """Write a stream to disk as it is made. Ctrl-C leaves a valid file of what was said."""
    try:
        with audio.AudioWriter(path, stream.sample_rate) as writer:
            for chunk in stream:
                writer.write(chunk)
                if progress is not None:
                    progress(stream.progress)
    except KeyboardInterrupt:
        _saved(stream.close(), Path(path))
        raise
    _saved(stream.synthesis, Path(path))
    return stream.synthesis


tts = Speaker()
