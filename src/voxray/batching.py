"""Many texts at once: their pieces' tokens made side by side, in buckets of like length.

    speak_many(pipeline, [Order(text, voice, options), ...], size=8) -> one Synthesis each

A step of the GPT costs one pass over its weights however many rows it has, so that a batch costs little
more than one text. Every row has its own dice, options, tokens and end; padding is hidden by masks:
what comes out is what each text gives alone (tokens equal, sound within float32). Pieces that are
watched or edited step by step stand at sites of their own and are made one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .decoding import TokenDecoder
from .pipeline import Job, Pipeline, SynthesisOptions
from .synthesis import Synthesis
from .voice import Voice

WIDEST = 1.5  # the longest text of a bucket over its shortest: more is mostly padding


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
    ready = [decoder for job in jobs for decoder in job.decoders.values()]
    plain = [d for d in ready if d.watch is None and not (d.options.compat or d.options.edits)]
    for bucket in buckets(plain, size):
        with pipeline.lock:
            advance_together(bucket)
    for job in jobs:
        for _ in job.run():
            pass
    return [job.synthesis() for job in jobs]


def buckets(decoders: Iterable[TokenDecoder], size: int) -> Iterator[list[TokenDecoder]]:
    """Groups of at most `size` with as many prompt tokens and texts of like length."""
    bucket: list[TokenDecoder] = []
    for decoder in sorted(decoders, key=lambda d: (len(d.prompt), len(d.text))):
        first = bucket[0] if bucket else decoder
        fits = len(decoder.prompt) == len(first.prompt)
        fits = fits and len(decoder.text) <= WIDEST * len(first.text)
        if bucket and (len(bucket) == size or not fits):
            yield bucket
            bucket = []
        bucket.append(decoder)
    if bucket:
        yield bucket


@torch.inference_mode()
def advance_together(decoders: Sequence[TokenDecoder]) -> None:
    """Make all tokens of decoders that have made none yet; one GPT, prompts of one length."""
    gpt = decoders[0].gpt
    live = list(decoders)
    logits, cache = gpt.prefill(
        pad_sequence([decoder.text for decoder in live], batch_first=True),  # [B, P]
        torch.tensor([len(decoder.text) for decoder in live]),
        torch.tensor([decoder.prompt for decoder in live], dtype=torch.long),  # [B, S0]
        _contexts(live),
    )
    while True:
        for decoder, row in zip(live, logits, strict=True):
            decoder.take(row.float())
        keep = [i for i, decoder in enumerate(live) if not decoder.done]
        if not keep:
            return
        if len(keep) < len(live):
            live, cache = [live[i] for i in keep], cache.select(torch.tensor(keep))
        logits = gpt.step(torch.tensor([decoder.tokens[-1] for decoder in live]), cache)


def _contexts(decoders: Sequence[TokenDecoder]) -> Tensor | None:
    """Context features [B, P, E]; zeros where one has none."""
    given = [decoder.context for decoder in decoders]
    width = next((c.shape[-1] for c in given if c is not None), 0)
    if not width:
        return None
    rows = [
        torch.zeros(len(decoder.text), width) if context is None else context[0]
        for decoder, context in zip(decoders, given, strict=True)
    ]
    return pad_sequence(rows, batch_first=True)
