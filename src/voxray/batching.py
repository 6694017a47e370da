"""Many texts at once: their pieces' tokens made side by side (`token_pool`), then sounded in turn.

    speak_many(pipeline, [Order(text, voice, options), ...], size=8) -> one Synthesis each

As one piece ends the next takes its place, so that the batch stays full whatever their lengths. What
comes out is what each text gives alone (tokens equal, sound within float32). Pieces that are edited
are made one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .job import Job
from .options import SynthesisOptions
from .pieces import Piece
from .pipeline import Pipeline
from .synthesis import Synthesis
from .takes import Take
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
    jobs = _ready(pipeline, orders, size)
    for job in jobs:
        for _ in job.run():
            pass
    return [job.synthesis() for job in jobs]


def takes_of_many(
    pipeline: Pipeline, orders: Sequence[Order], size: int = 8
) -> list[tuple[Piece, list[Take]]]:
    """Every piece of the orders with all of its takes, sounded and listened to (for training)."""
    said: list[tuple[Piece, list[Take]]] = []
    for job in _ready(pipeline, orders, size, every_take=True):
        pieces = [piece for piece in job.pieces or () if piece.spoken]
        for number, piece in enumerate(pieces):
            tries = enumerate(job.decoders[number])
            said.append((piece, [job.take(piece, number, n, one) for n, one in tries]))
    return said


def _ready(
    pipeline: Pipeline, orders: Sequence[Order], size: int, every_take: bool = False
) -> list[Job]:
    """Their jobs, with the tokens of first takes made, or of all."""
    if size < 1:
        raise ValueError(f"the batch size is {size}; need 1 or more")
    jobs = [Job(pipeline, o.text, o.voice, o.options, whole=True) for o in orders]
    for job in jobs:
        job.prepare(job.takes if every_take else 1)
    with pipeline.lock:
        advance_together([d for job in jobs for own in job.decoders.values() for d in own], size)
    return jobs
