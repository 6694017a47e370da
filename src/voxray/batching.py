"""Many texts at once: their pieces' tokens made side by side (`token_pool`), then sounded in turn.

    speak_many(pipeline, [Order(text, voice, options), ...], size=8) -> one Synthesis each

As one piece ends the next takes its place, so that the batch stays full whatever their lengths. What
comes out is what each text gives alone (tokens equal, sound within float32). Pieces that are edited
are made one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .pipeline import Job, Pipeline, SynthesisOptions
from .synthesis import Synthesis
from .token_pool import advance_together
from .voice import Voice


@dataclass(frozen=True)
class Order:
    """One text to be said."""

    text: str
    voice: Voice
    options: SynthesisOptions


def speak_many(pipeline: Pipeline, orders: Sequence[Order], size: int = 8) -> list[Synthesis]:
    """A `Synthesis` for each order, in their order; at most `size` pieces side by side."""
    if size < 1:
        raise ValueError(f"the batch size is {size}; need 1 or more")
    jobs = [Job(pipeline, o.text, o.voice, o.options, whole=True) for o in orders]
    for job in jobs:
        job.prepare()
    with pipeline.lock:
        advance_together([d for job in jobs for own in job.decoders.values() for d in own], size)
    for job in jobs:
        for _ in job.run():
            pass
    return [job.synthesis() for job in jobs]
