"""`voxray train clarity`: a model's GPT learns from what its own ear hears it say.

In: a model that can listen to itself (`takes.can_listen`) and a store, for texts and people's voices. Each text is said
several times in one voice; the content encoder hears how clear each phoneme of each take is (`takes.odds_said`). Tokens around
phonemes that came out clearer than in the other takes become likelier, others less (`policy.py`). Its sound, its voices and its ear
stand still. Takes are made by `workers` processes with weights a few steps old, or in a crowd (`crowd.py`) with the weights
as they are: on a GPU, hundreds a second.
Out: the run's GPT, and a model's folder with it, OUT/model.
"""

from __future__ import annotations

import copy
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from voxray.batching import Order, takes_of_many
from voxray.bundle import Bundle
from voxray.fitting import fitting
from voxray.models.generator import Generator
from voxray.models.gpt import GPT
from voxray.models.packed import quicken
from voxray.options import SynthesisOptions
from voxray.packaged import DEFAULT, home
from voxray.pieces import Script
from voxray.pipeline import Pipeline
from voxray.takes import can_listen
from voxray.voice import Voice, builtin_names

from .crowd import Clock, Crowd, Take, products
from .crowd_sound import Timbre
from .crowd_tokens import Line
from .feed import place
from .label import check_front_end, check_stamp
from .policy import Said, advantages, clarity_losses, losses_by_parts, measured, rows_of
from .run import Run, Say, Schedule, Task, fit, silent
from .store import RATE, Entry, Store
from .workers import ahead

POLICY = "policy.safetensors"  # what the takes are made with
SIDE_BY_SIDE = 24  # rows of a step
REFERENCE = 8 * RATE  # samples of a person's voice


class ClarityTraining(Schedule):
    """Settings of a run. A micro-batch is `texts` texts, each said `takes` times."""

    steps: int = 300
    rate: float = 5e-5
    warmup: int = 10
    ema: float = 0.97
    log_every: int = 5
    save_every: int = 10
    texts: int = 4
    takes: int = 6
    joined: float = 0.3  # share of texts that are two of the store's
    builtin: float = 0.4  # share said by built-in voices
    voices: int = 48  # people who say the others
    near: float = 0.75  # share of people who speak the text's language, where there are some
    whole: float = 0.5  # weight of a take's own advantage beside those of its phonemes
    stay: float = 0.1  # weight of the divergence from the GPT as it was
    spoilt: float = 1.0  # off a take's clarity where the watch found a fault
    fresh: int = 4  # steps after which takes are made with the new weights
    crowd: bool = False  # all takes of a step at once, in this process; always so on a GPU
    sounded: int = 64  # takes of a crowd that are sounded at once
    learnt: int = 128  # takes of a crowd that are learnt from at once
    longest: int = 150  # phonemes of a piece; a crowd leaves longer ones out


@dataclass(frozen=True)
class Request:
    """What a worker is asked for: texts, who says them, and the dice."""

    store: Path
    model: Path
    policy: Path
    texts: tuple[tuple[str, str], ...]  # language and text
    voices: tuple[str, ...]  # a built-in name, or a speaker of the store
    takes: int
    seed: int


# --- takes, in a process of their own ----------------------------------------------------------------------


@lru_cache(maxsize=1)
def _pipeline(model: Path) -> Pipeline:
    if multiprocessing.parent_process() is not None:  # one of several: a core each
        torch.set_num_threads(1)
    bundle = Bundle.load(model, precision="float32")
    return Pipeline(bundle, bundle.text_pipeline())


@lru_cache(maxsize=1)
def _store(folder: Path) -> Store:
    return Store(folder)


@lru_cache(maxsize=64)
def _voice(folder: Path, model: Path, name: str) -> Voice:
    if name in builtin_names():
        return Voice.builtin(name)
    own = [e for e in _store(folder).entries if e.speaker == name]
    wave = np.concatenate([_store(folder).audio(e) for e in own[:8]])[:REFERENCE]
    return Voice.heard(name, wave, RATE, _pipeline(model).models)


@lru_cache(maxsize=1)
def _gpt(model: Path, policy: Path, written: int) -> GPT:
    """The policy's GPT; `written` is when, so that a newer file is another one."""
    gpt = GPT(_pipeline(model).models.gpt.config).eval()
    gpt.load_state_dict({k: v.float() for k, v in safetensors.torch.load_file(policy).items()})
    quicken(gpt)
    return gpt


def say(request: Request) -> list[Said]:
    """Every piece of the request's texts with all its takes."""
    pipeline = _pipeline(request.model)
    written = request.policy.stat().st_mtime_ns
    pipeline.models.gpt = _gpt(request.model, request.policy, written)
    orders = [
        Order(
            text,
            _voice(request.store, request.model, voice),
            SynthesisOptions(
                language=language, seed=request.seed + place, takes=request.takes, style=False
            ),
        )
        for place, ((language, text), voice) in enumerate(
            zip(request.texts, request.voices, strict=True)
        )
    ]
    said = []
    for piece, takes in takes_of_many(pipeline, orders, SIDE_BY_SIDE):
        spoken = tuple(place for place, word in enumerate(piece.words) if word >= 0)
        if not all(take.decoder.tokens for take in takes):
            continue
        said.append(
            Said(
                piece.ids,
                spoken,
                [take.decoder.tokens for take in takes],
                [take.decoder.path for take in takes],
                np.stack([take.odds for take in takes]),
                [take.whole for take in takes],
            )
        )
    return said


# --- what others get ready for a crowd ----------------------------------------------------------------------


@dataclass(frozen=True)
class Called:
    """Who is to be heard: a built-in name, or a speaker of the store."""

    store: Path
    model: Path
    name: str


def ready(job: Called | Request) -> Timbre | list[Line]:
    """A voice as arrays, or the pieces of a request's texts; in a worker process."""
    pipeline = _pipeline(job.model)
    models = pipeline.models
    if isinstance(job, Called):
        voice = fitting(models, _voice(job.store, job.model, job.name))
        assert isinstance(models.generator, Generator)
        return Timbre.of(voice, models.generator.config)
    return [
        Line(piece.ids, piece.words, voice)
        for (language, text), voice in zip(job.texts, job.voices, strict=True)
        for piece in Script(text, pipeline.text, language, 0)
        if piece.spoken
    ]


def crowded(requests: Requests, first: int, gpt: GPT, clock: Clock) -> Iterator[list[Said]]:
    """The takes of request `first`, and on, made by a GPT as it is when they are asked for."""
    config, names = requests.config, requests.names
    numbers = itertools.count(first)
    asked = map(requests, numbers)
    jobs = itertools.chain((Called(requests.store, requests.model, n) for n in names), asked)
    made = ahead(ready, jobs, max(1, config.workers))
    timbres = {name: cast(Timbre, next(made)) for name in names}
    models = Bundle.load(requests.model, precision="float32")
    crowd = Crowd(models, gpt, timbres, clock, config.sounded)
    for number in itertools.count(first):
        with clock.on("reading"):
            lines = cast("list[Line]", next(made))
        lines = [line for line in lines if len(line.ids) <= config.longest]
        takes = crowd.say(lines, config.takes, requests(number).seed)
        pairs = zip(lines, takes, strict=True)
        yield [_said(line, own) for line, own in pairs if all(take.tokens for take in own)]


def _said(line: Line, takes: Sequence[Take]) -> Said:
    return Said(
        line.ids,
        tuple(line.spoken),
        [take.tokens for take in takes],
        [take.path for take in takes],
        np.stack([take.odds for take in takes]),
        [take.whole for take in takes],
    )


# --- what is asked for --------------------------------------------------------------------------------------


class Requests:
    """Request n of a run, from the run's seed and n alone."""

    def __init__(
        self, data: Path, model: Path, hears_as: str, out: Path, config: ClarityTraining
    ) -> None:
        self.config, self.store, self.model, self.policy = config, data, model, out / POLICY
        entries = [e for e in Store(data).entries if e.split == "train"]
        self.texts: dict[str, list[str]] = {"en": [], "zh": []}
        for language, texts in self.texts.items():
            mine = [e for e in entries if e.language == language]
            spoken = [e for e in mine if e.synthetic] or mine
            texts.extend(dict.fromkeys(e.text for e in spoken))
        self.texts = {language: texts for language, texts in self.texts.items() if texts}
        if not self.texts:
            raise ValueError(f"{data} holds no English or Mandarin text to say")
        self.people = self._people([e for e in entries if not e.synthetic])
        own = [v for v in map(Voice.builtin, builtin_names()) if v.model == hears_as]
        self.builtin = {
            language: [voice.name for voice in own if voice.language == language]
            for language in self.texts
        }
        if not own and not self.people:
            raise ValueError(
                f"{data} holds nobody's recordings, and the model has no voices of its own"
            )

    def _people(self, entries: Sequence[Entry]) -> dict[str, list[str]]:
        """Speakers by language, a chosen few."""
        dice = np.random.default_rng(self.config.seed)
        speakers = sorted({(e.language, e.speaker) for e in entries})
        chosen = dice.permutation(len(speakers))[: self.config.voices]
        people: dict[str, list[str]] = {}
        for language, speaker in (speakers[number] for number in sorted(chosen)):
            people.setdefault(language, []).append(speaker)
        return people

    @property
    def names(self) -> list[str]:
        """All who may be asked to say something."""
        own = {name for names in self.builtin.values() for name in names}
        return sorted(own.union(*self.people.values()))

    def __call__(self, number: int) -> Request:
        dice = np.random.default_rng((self.config.seed, number))
        texts, voices = [], []
        for _ in range(self.config.texts):
            language = _one(dice, sorted(self.texts))
            text = _one(dice, self.texts[language])
            if dice.random() < self.config.joined:
                text = f"{text} {_one(dice, self.texts[language])}"
            texts.append((language, text))
            voices.append(self._who(dice, language))
        seed = int(dice.integers(1 << 40))
        return Request(
            self.store, self.model, self.policy, tuple(texts), tuple(voices),
            self.config.takes, seed,
        )  # fmt: skip

    def _who(self, dice: np.random.Generator, language: str) -> str:
        own = self.builtin[language] or sorted(n for names in self.builtin.values() for n in names)
        if own and (dice.random() < self.config.builtin or not self.people):
            return _one(dice, own)
        near = self.people.get(language, [])
        if near and dice.random() < self.config.near:
            return _one(dice, near)
        return _one(dice, sorted(name for names in self.people.values() for name in names))


def _one(dice: np.random.Generator, of: Sequence[str]) -> str:
    return of[int(dice.integers(len(of)))]


# --- the run ------------------------------------------------------------------------------------------------


def train_clarity(
    data: Path, out: Path, config: ClarityTraining, model: Path | None = None, tell: Say = silent
) -> Path:
    """Train the GPT of a model (default: the built-in one); resumes from `out`. Returns the folder of the new model."""
    folder, device = home(model or DEFAULT), place(config)
    bundle = Bundle.load(folder, precision="float32")
    before = _teacher(bundle, folder, data).to(device)
    gpt = copy.deepcopy(before)  # never in training mode: dropout is no part of the policy
    before.requires_grad_(False)
    run = Run(out, {"gpt": gpt})
    run.resume()
    requests = Requests(data, folder, bundle.hears_as, out, config)
    crowd, clock = config.crowd or device.type != "cpu", Clock(device)
    first = run.step * config.accumulate
    if crowd:
        takes = crowded(requests, first, gpt, clock)
    else:
        _hand_out(gpt, out)
        takes = _stream(requests, first, max(1, config.workers))
    heard = _Heard(run, config, gpt, before, bundle.config.temperature, takes, clock, crowd)

    def after(step: int) -> None:
        if not crowd and (step + 1) % config.fresh == 0:
            _hand_out(gpt, out)

    task = Task(
        [{"params": list(gpt.parameters())}], heard.losses, {"gain": 1.0, "moved": config.stay},
        after=after, decay=0.0,
    )  # fmt: skip
    with products("high", device):
        fit(run, task, config, tell)
    bundle.gpt.load_state_dict(gpt.state_dict())
    bundle.save(out / "model")
    return out / "model"


def _teacher(bundle: Bundle, folder: Path, data: Path) -> GPT:
    """The GPT of a model as it is, plain; ValueError where it cannot learn so from a store."""
    if not can_listen(bundle) or not isinstance(bundle.gpt, GPT):
        raise ValueError(f"the model {bundle.name!r} cannot hear how clearly its GPT speaks")
    check_stamp(data)
    check_front_end(f"the weights in {folder}", bundle.fingerprint, bundle.text_pipeline())
    gpt = GPT(bundle.gpt.config).eval()
    gpt.load_state_dict(bundle.gpt.state_dict())
    return gpt


@dataclass
class _Heard:
    """The losses of a run, micro-batch by micro-batch."""

    run: Run
    config: ClarityTraining
    gpt: GPT
    before: GPT
    temperature: float
    takes: Iterator[list[Said]]
    clock: Clock
    crowd: bool
    learning: float | None = None  # when it began

    def losses(self, number: int) -> dict[str, Tensor]:
        """Of the next takes."""
        seconds = {}
        if self.learning is not None and self.crowd:  # of the step before, backward and all
            seconds["learning"] = self.clock.now() - self.learning
        said: list[Said] = []
        while not said:
            said = next(self.takes)
        self.learning = self.clock.now()
        batch = rows_of(said, advantages(said, self.config.whole, self.config.spoilt), self.gpt.end)
        if self.crowd:
            rows = self.config.learnt
            parts = losses_by_parts(self.gpt, self.before, batch, self.temperature, rows)
        else:
            parts = clarity_losses(self.gpt, self.before, batch, self.temperature)
        parts.update(measured(said))
        seconds.update(self.clock.taken())
        numbers = {name: float(value.detach()) for name, value in parts.items()}
        self.run.log("takes", **numbers, **seconds, count=float(len(batch[0])))
        return parts


def _stream(requests: Requests, first: int, workers: int) -> Iterator[list[Said]]:
    """The takes of request `first`, and on."""

    def numbered() -> Iterator[Request]:
        number = first
        while True:
            yield requests(number)
            number += 1

    return ahead(say, numbered(), workers)


def _hand_out(gpt: GPT, out: Path) -> None:
    """The weights for those who make takes, as a model's file would hold them."""
    part = out / f".{POLICY}.part"
    state = {name: value.detach().half() for name, value in gpt.state_dict().items()}
    part.write_bytes(safetensors.torch.save(state))
    part.replace(out / POLICY)
