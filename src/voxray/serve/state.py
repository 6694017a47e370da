"""What a service holds: settings, models, voices, the scheduler, figures, what keys have chosen.

One object per application, at `app.state.service`; nothing is global.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from ..bundle import Bundle
from ..engine import tts
from ..pipeline import Pipeline
from ..token_pool import TokenPool
from ..trust.access import Caller
from .errors import Problem
from .jobs import Jobs
from .limits import PerMinute
from .metrics import Metrics
from .scheduler import Scheduler
from .settings import Settings
from .voices import Voices

Model = Bundle | Path | None  # None: the built-in one
OPENAI_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # what clients ask for: the first model
MOST_CHOICES = 10_000
T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """A running service."""

    settings: Settings
    models: Mapping[str, Model]
    voices: Voices
    scheduler: Scheduler
    metrics: Metrics
    guesses: PerMinute
    heavy: PerMinute
    pools: dict[str, TokenPool]  # of the models that are loaded
    jobs: Jobs = field(default_factory=Jobs)
    choices: OrderedDict[str, dict[str, str]] = field(default_factory=OrderedDict)  # of api_v2

    @staticmethod
    def build(settings: Settings, models: Mapping[str, Model]) -> Service:
        """A service with its worker threads."""
        if not models:
            raise ValueError("a service needs a model")
        scheduler = Scheduler(
            workers=settings.workers,
            most_active=settings.most_active,
            most_requests=settings.most_requests,
            most_per_key=settings.most_per_key,
            ahead_seconds=settings.ahead_seconds,
            slow_reader=settings.slow_reader,
            before_turn=partial(_share_cores, torch.get_num_threads(), settings.workers),
        )
        pools: dict[str, TokenPool] = {}
        return Service(
            settings,
            dict(models),
            Voices(settings.voices, settings.aliases),
            scheduler,
            Metrics(scheduler, pools),
            PerMinute(settings.guesses_per_minute),
            PerMinute(settings.heavy_per_minute),
            pools,
        )

    def model_name(self, asked: str | None) -> str:
        """The registered name of what a client asks for."""
        first = next(iter(self.models))
        if not asked or (asked in OPENAI_MODELS and asked not in self.models):
            return first
        name = self.settings.aliases.get(asked, asked)
        if name not in self.models:
            raise Problem("model-unknown", f"there is no model named {asked!r:.80}")
        return name

    def bundle(self, asked: str | None) -> Bundle:
        """The models, loaded once."""
        name = self.model_name(asked)
        pipeline = tts.pipeline(self.models[name])
        if isinstance(pipeline, Pipeline):
            self.pools[name] = pipeline.pool
        return pipeline.models

    @contextmanager
    def alone(self, asked: str | None) -> Iterator[None]:
        """Nobody else uses a model meanwhile."""
        pipeline = tts.pipeline(self.models[self.model_name(asked)])
        with pipeline.alone():
            yield

    def count_heavy(self, who: Caller) -> None:
        """Book what costs the service much, or refuse."""
        wait = self.heavy.wait(who.actor)
        if wait:
            raise Problem("too-many", f"{self.heavy.most} of these a minute are allowed", wait)
        self.heavy.count(who.actor)

    def chosen(self, who: Caller) -> dict[str, str]:
        """What a key has chosen over api_v2: voice and model. Nobody else's choice."""
        choice = self.choices.setdefault(who.actor, {})
        self.choices.move_to_end(who.actor)
        while len(self.choices) > MOST_CHOICES:
            self.choices.popitem(last=False)
        return choice


def _share_cores(cores: int, workers: int, active: int) -> None:
    """One request alone gets all cores; several get a part each, which wastes less."""
    torch.set_num_threads(cores if active <= 1 else max(1, cores // workers))


def service_of(connection: HTTPConnection) -> Service:
    """The service behind a request."""
    return connection.app.state.service


async def aside(function: Callable[..., T], *arguments: Any) -> T:
    """Run what waits for a disk or the database off the event loop."""
    return await run_in_threadpool(function, *arguments)
