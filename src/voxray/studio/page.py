"""The page: Gradio's components put together, one function a tab. What they do is in `handlers`.

`build` gives the page in one language, `head` its style sheet and a line of script. No event has a name
in Gradio's API: for programs there is `voxray serve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import gradio as gr

from ..trust.consent import PURPOSES
from .actions import Studio, heads
from .figures import escape
from .handlers import Handlers, empty
from .strings import Words
from .tuning import Tuner

HEAVY: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 2, "api_visibility": "private",
                         "show_progress": "hidden"}  # fmt: skip
LIGHT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": True}
AUDIO_KINDS = [".wav", ".flac", ".mp3", ".ogg", ".opus"]
EVERY_SECONDS = 2.0
LIMIT_MINUTES = 18
KEPT_SECONDS = 3600


@dataclass(frozen=True)
class Speaking:
    """Parts of the first tab that the others need."""

    voice: gr.Dropdown
    moment: gr.Slider
    word: gr.Dropdown
    take: gr.State
    made: gr.State


def build(studio: Studio, tuner: Tuner, words: Words) -> gr.Blocks:
    """The page in one language."""
    calls = Handlers(studio, tuner, words)
    with gr.Blocks(
        analytics_enabled=False, title=words("title"), delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
    ) as blocks:
        gr.HTML(_top(words))
        with gr.Tabs():
            with gr.Tab(words("tab.speak"), id="speak"):
                speaking = _speak(calls, words)
            with gr.Tab(words("tab.script"), id="script"):
                _script(calls, words)
            with gr.Tab(words("tab.voice"), id="voice"):
                changed = _voices(calls, words, speaking.voice)
            with gr.Tab(words("tab.verify"), id="verify"):
                _verify(calls, words)
            with gr.Tab(words("tab.tune"), id="tune"):
                _tune(calls, words)
        blocks.load(calls.voices, None, changed, **LIGHT)
    blocks.queue(max_size=16, default_concurrency_limit=4, api_open=False)
    return blocks


def head(words: Words) -> str:
    """What goes into the page's head: the style sheet, and the language of Gradio's own parts."""
    locale = {"en": "en-US", "zh": "zh-CN"}[words.language]
    script = (
        f"for (const [name, value] of [['language', '{locale}'], ['languages', ['{locale}']]])"
        " Object.defineProperty(navigator, name, {get: () => value});"
    )
    return f"<script>{script}</script><style>{_read('studio.css')}</style>"


def _read(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")


def _top(words: Words) -> str:
    other = "zh" if words.language == "en" else "en"
    return (
        f'<header id="top"><h1>{escape(words("title"))}</h1>'
        f'<a href="/{other}/" lang="{other}" hreflang="{other}">{escape(words("other"))}</a>'
        f"<p>{escape(words('lead'))}</p></header>"
    )


def _player(name: str) -> gr.HTML:
    return gr.HTML("", js_on_load=_read("studio.js"), elem_id=name, padding=False)


def _speak(calls: Handlers, words: Words) -> Speaking:
    take, made = gr.State(None), gr.State(empty())
    text = gr.Textbox(words("text.example"), label=words("text"), info=words("text.hint"), lines=3,
                      max_length=calls.studio.settings.most_characters, elem_id="text")  # fmt: skip
    with gr.Row():
        voice = gr.Dropdown(
            calls.choices(),
            value=calls.usual(),
            label=words("voice"),
            elem_id="voice",
            min_width=200,
        )
        with gr.Column(min_width=200):
            go = gr.Button(words("speak"), variant="primary", elem_id="go")
            stop = gr.Button(words("stop"), elem_id="stop", size="sm")
    with gr.Accordion(words("more"), open=False), gr.Row():
        seed = gr.Textbox("", label=words("seed"), info=words("seed.info"), max_length=19,
                          elem_id="seed")  # fmt: skip
        speed = gr.Slider(0.5, 2.0, 1.0, step=0.05, label=words("speed"))
        heat = gr.Slider(0.0, 1.5, 0.0, step=0.05, label=words("temperature"),
                         info=words("temperature.info"))  # fmt: skip
    status = gr.HTML("", elem_id="status")
    first = _player("first")
    with gr.Column(visible=False) as panel:
        gr.HTML(f'<p class="facts">{escape(words("pick"))}</p>')
        with gr.Row():
            moment = gr.Slider(0, 1, 0, step=0.01, label=words("moment"), elem_id="moment")
            word = gr.Dropdown([], label=words("word"), elem_id="word")
        parts = Speaking(voice, moment, word, take, made)
        with gr.Row():
            with gr.Column(min_width=320):
                answer = _why(calls, words, parts)
            with gr.Column(min_width=320):
                shown, emphasis, attention, second, table = _change(calls, words, parts)
        second.render()
        table.render()
    first.click(calls.picked, None, [moment, word], **LIGHT)
    second.click(calls.picked, None, [moment, word], **LIGHT)
    outputs = [status, first, take, panel, word, moment, answer, second, table, made, shown,
               emphasis, attention]  # fmt: skip
    inputs = [text, voice, seed, speed, heat, made]
    said = [go.click(calls.speak, inputs, outputs, **HEAVY)]
    said.append(text.submit(calls.speak, inputs, outputs, **HEAVY))
    stop.click(lambda: calls.info(words("stopped")), None, status, cancels=said, **LIGHT)
    return parts


def _why(calls: Handlers, words: Words, parts: Speaking) -> gr.HTML:
    gr.HTML(f"<h3>{escape(words('why.head'))}</h3>")
    with gr.Row():
        here = gr.Button(words("why"), elem_id="why-here", min_width=120)
        this = gr.Button(words("why.word"), elem_id="why-word", min_width=120)
    status = gr.HTML("", elem_id="why-status")
    answer = gr.HTML("", elem_id="answer")
    for button, by_word in ((here, False), (this, True)):
        button.click(calls.asking, None, status, **LIGHT).then(
            partial(_ask, calls, by_word), [parts.take, parts.moment, parts.word],
            [status, answer], **HEAVY,
        )  # fmt: skip
    return answer


def _ask(
    calls: Handlers, by_word: bool, take: str | None, at: float | None, word: int | None
) -> Any:
    return calls.why(take, at, word, by_word)


def _change(
    calls: Handlers, words: Words, parts: Speaking
) -> tuple[gr.HTML, Any, Any, gr.HTML, gr.HTML]:
    """The changes' list, the word's two sliders, and B's parts, which the caller places."""
    gr.HTML(f"<h3>{escape(words('change.head'))}</h3>")
    emphasis = gr.Slider(-1, 1, 0, step=0.1, label=words("emphasis"), info=words("emphasis.info"),
                         elem_id="emphasis")  # fmt: skip
    shown = gr.HTML(calls.shown(empty(), None), render=False)
    with gr.Accordion(words("more"), open=False):
        attention = gr.Slider(0.25, 8, 1, step=0.25, label=words("attention"),
                              info=words("attention.info"))  # fmt: skip
        with gr.Row():
            which = gr.Dropdown(heads(calls.studio), label=words("head"), min_width=140)
            gain = gr.Slider(0, 3, 1, step=0.1, label=words("gain"), info=words("gain.info"))
        concepts = _concepts(calls, words)
    shown.render()
    with gr.Row():
        hear = gr.Button(words("hear"), variant="primary", elem_id="hear")
        forget = gr.Button(words("forget"), size="sm")
    status = gr.HTML("", elem_id="hear-status")
    second = gr.HTML("", js_on_load=_read("studio.js"), elem_id="second", render=False)
    table = gr.HTML("", elem_id="comparison", render=False)
    kept = [parts.made, shown]
    rest = [parts.made, parts.take]
    moves: list[tuple[Any, str, float, Any]] = [
        (emphasis, "emphasis", 0.0, parts.word), (attention, "attention", 1.0, parts.word),
        (gain, "heads", 1.0, which),
        *((slider, "concepts", 0.0, gr.State(name)) for name, slider in concepts.items()),
    ]  # fmt: skip
    for slider, part, neutral, key in moves:
        slider.input(partial(_moved, calls, part, neutral), [key, slider, *rest], kept,
                     trigger_mode="always_last", **LIGHT)  # fmt: skip
    parts.word.change(calls.sliders, [parts.word, parts.made], [emphasis, attention], **LIGHT)
    which.change(
        lambda name, made: made["heads"].get(name, 1.0), [which, parts.made], gain, **LIGHT
    )
    back = [*kept, emphasis, attention, gain, *concepts.values()]
    forget.click(lambda: [empty(), calls.shown(empty(), None), 0.0, 1.0, 1.0, *[0.0] * len(concepts)],
                 None, back, **LIGHT)  # fmt: skip
    hear.click(
        calls.hear,
        [parts.take, parts.made, parts.word, emphasis, attention],
        [status, second, table],
        **HEAVY,
    )
    return shown, emphasis, attention, second, table


def _moved(
    calls: Handlers, part: str, neutral: float, key: Any, value: float, made: Any, take: Any
) -> Any:
    return calls.changed(part, key, value, neutral, made, take)


def _concepts(calls: Handlers, words: Words) -> dict[str, gr.Slider]:
    known = calls.studio.concepts()
    if not known:
        told = words("concepts.none", folder="~/…/voxray/concepts")
        gr.HTML(f'<p class="facts"><b>{escape(words("concepts.head"))}</b> {escape(told)}</p>')
    return {name: gr.Slider(-3, 3, 0, step=0.1, label=name) for name in known}


def _script(calls: Handlers, words: Words) -> None:
    text = gr.Textbox(words("script.example"), label=words("script"), info=words("script.hint"),
                      lines=7, max_length=calls.studio.settings.most_characters,
                      elem_id="script")  # fmt: skip
    cast = gr.Textbox("", label=words("cast"), info=words("cast.info"), elem_id="cast")
    with gr.Row():
        seed = gr.Textbox("", label=words("seed"), info=words("seed.info"), max_length=19)
        speed = gr.Slider(0.5, 2.0, 1.0, step=0.05, label=words("speed"))
    with gr.Row():
        go = gr.Button(words("script.speak"), variant="primary", elem_id="script-go")
        stop = gr.Button(words("stop"))
    status = gr.HTML("", elem_id="script-status")
    player = _player("script-player")
    said = go.click(calls.script, [text, cast, seed, speed], [status, player], **HEAVY)
    stop.click(lambda: calls.info(words("stopped")), None, status, cancels=[said], **LIGHT)


def _purposes(words: Words) -> gr.CheckboxGroup:
    choices = [(words("purpose." + name), name) for name in PURPOSES]
    return gr.CheckboxGroup(choices, value=["personal"], label=words("voice.purposes"))


def _voices(calls: Handlers, words: Words, voice: gr.Dropdown) -> list[Any]:
    """Returns what shows the list of voices."""
    gr.Markdown(words("voice.lead"))
    with gr.Row():
        with gr.Column(min_width=320):
            name = gr.Textbox(label=words("voice.name"), max_length=64, elem_id="new-name")
            who = gr.Textbox(label=words("voice.who"), info=words("voice.who.info"), max_length=64,
                             elem_id="new-who")  # fmt: skip
            sample = gr.Audio(label=words("voice.sample"), type="filepath", elem_id="sample",
                              sources=["upload", "microphone"], editable=False, buttons=[])  # fmt: skip
            transcript = gr.Textbox(label=words("voice.transcript"), max_length=2000,
                                    info=words("voice.transcript.info"))  # fmt: skip
        with gr.Column(min_width=320):
            fields = _consent(calls, words, who)
    make = gr.Button(words("voice.make"), variant="primary", elem_id="make")
    status = gr.HTML("", elem_id="voice-status")
    gr.HTML(f"<h3>{escape(words('voices.head'))}</h3>")
    table = gr.HTML("", elem_id="own")
    with gr.Row():
        mine = gr.Dropdown([], label=words("voices.choose"), min_width=200)
        withdraw = gr.Button(words("voices.withdraw"), min_width=120)
        delete = gr.Button(words("voices.delete"), variant="stop", min_width=120)
    shown = [table, voice, mine]
    make.click(
        calls.make_voice, [name, who, sample, transcript, *fields], [status, *shown], **HEAVY
    )
    withdraw.click(calls.withdraw, mine, [status, *shown], **LIGHT)
    delete.click(calls.delete, mine, [status, *shown], **LIGHT)
    return shown


def _consent(calls: Handlers, words: Words, who: gr.Textbox) -> list[Any]:
    """Purposes, kind, language, number, reading, word given: the consent's fields."""
    gr.HTML(f"<h4>{escape(words('voice.consent'))}</h4>")
    purposes = _purposes(words)
    language = gr.Radio([("English", "en"), ("中文", "zh")], value=words.language,
                        label=words("tune.language"))  # fmt: skip
    with gr.Accordion(words("voice.agreement"), open=False):
        text = gr.HTML(calls.agreement(words.language, "", ["personal"]))
    kinds = [(words("kind." + kind), kind) for kind in ("read-aloud", "attested")]
    kind = gr.Radio(kinds, value="read-aloud", label=words("voice.kind"), elem_id="kind")
    number = gr.State("")
    with gr.Column() as aloud:
        ask = gr.Button(words("voice.ask"), elem_id="ask")
        status = gr.HTML("")
        sentence = gr.HTML("", elem_id="sentence")
        read = gr.Audio(label=words("voice.read"), type="filepath", elem_id="reading",
                        sources=["microphone", "upload"], editable=False, buttons=[])  # fmt: skip
    agreed = gr.Checkbox(False, label=words("voice.agreed"), visible=False, elem_id="agreed")
    for part in (language, who, purposes):
        part.change(calls.agreement, [language, who, purposes], text, **LIGHT)
    kind.change(lambda chosen: [gr.Column(visible=chosen == "read-aloud"),
                                gr.Checkbox(visible=chosen == "attested")],
                kind, [aloud, agreed], **LIGHT)  # fmt: skip
    ask.click(calls.sentence, language, [status, sentence, number], **LIGHT)
    return [purposes, kind, language, number, read, agreed]


def _verify(calls: Handlers, words: Words) -> None:
    gr.Markdown(words("verify.lead"))
    file = gr.File(label=words("verify.file"), file_types=AUDIO_KINDS, type="filepath",
                   elem_id="drop", height=160)  # fmt: skip
    go = gr.Button(words("verify"), variant="primary", elem_id="verify-go")
    status, found = gr.HTML("", elem_id="verify-status"), gr.HTML("", elem_id="finding")
    file.upload(calls.verify, file, [status, found], **HEAVY)
    go.click(calls.verify, file, [status, found], **HEAVY)


def _tune(calls: Handlers, words: Words) -> None:
    gr.Markdown(words("tune.lead", minutes=LIMIT_MINUTES))
    with gr.Row():
        with gr.Column(min_width=320):
            name = gr.Textbox(label=words("voice.name"), max_length=64, elem_id="tune-name")
            who = gr.Textbox(label=words("voice.who"), info=words("voice.who.info"), max_length=64,
                             elem_id="tune-who")  # fmt: skip
            recordings = gr.File(label=words("tune.recordings"), file_count="multiple",
                                 file_types=AUDIO_KINDS, type="filepath", height=150,
                                 elem_id="tune-files")  # fmt: skip
            transcripts = gr.File(label=words("tune.transcripts"), type="filepath", height=150,
                                  file_types=[".tsv", ".list", ".txt"])  # fmt: skip
            gr.HTML(f'<p class="facts">{escape(words("tune.transcripts.info"))}</p>')
        with gr.Column(min_width=320):
            language = gr.Radio([("English", "en"), ("中文", "zh")], value=words.language,
                                label=words("tune.language"))  # fmt: skip
            minutes = gr.Slider(0.5, 10, 1, step=0.5, label=words("tune.minutes"))
            limit = gr.Slider(1, 120, LIMIT_MINUTES, step=1, label=words("tune.limit"))
            purposes = _purposes(words)
            agreed = gr.Checkbox(False, label=words("tune.agreed"), elem_id="tune-agreed")
    with gr.Row():
        start = gr.Button(words("tune.start"), variant="primary", elem_id="tune-start")
        stop = gr.Button(words("stop"))
    status = gr.HTML("", elem_id="tune-status")
    progress = gr.HTML(calls.progress()[0], elem_id="progress")
    timer = gr.Timer(EVERY_SECONDS, active=True)  # also for a page opened while a run goes on
    fields = [name, who, recordings, transcripts, language, minutes, limit, purposes, agreed]
    start.click(calls.start, fields, [status, progress, timer], **LIGHT)
    stop.click(calls.end, None, [progress, timer], **LIGHT)
    timer.tick(calls.progress, None, [progress, timer], **LIGHT)
