"""Which heads keep speech going round in loops: found by turning each one off while it loops.

In: texts that loop, a voice. Out: heads by how much of the looping goes without them. The watch is off, so that
loops are not mended before they are seen. `Repetition(heads=...)` then acts on the heads found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..pipeline import Pipeline, SynthesisOptions
from ..voice import Voice
from .edits import Repetition
from .loops import loop_share


@dataclass(frozen=True)
class Loops:
    """Share of looping tokens as it is, and without each head (layer, head), the most helpful first."""

    share: float
    without: tuple[tuple[tuple[int, int], float], ...]

    def edit(self, count: int = 1, gain: float = 0.0) -> Repetition:
        """Turn the `count` heads down that help most; an error where turning down helps nothing."""
        better = [head for head, share in self.without if share < self.share][:count]
        if not better:
            raise ValueError("no head was found whose absence shortens the loops")
        return Repetition(heads=tuple(better), gain=gain)


def responsible(
    pipeline: Pipeline, texts: Sequence[str], voice: Voice, options: SynthesisOptions
) -> Loops:
    """Say every text once as it is, and once without each head while it loops."""
    if not texts:
        raise ValueError("give texts that loop")
    bare = options.model_copy(update={"watch": None})
    before = loops(pipeline, texts, voice, bare)
    if before == 0.0:
        raise ValueError("none of these texts loops: there is nothing to find")
    config = pipeline.models.gpt.config
    shares = []
    for layer in range(config.n_layer):
        for head in range(config.n_head):
            edit = Repetition(heads=((layer, head),))
            changed = bare.model_copy(update={"edits": edit})
            shares.append(((layer, head), loops(pipeline, texts, voice, changed)))
    return Loops(before, tuple(sorted(shares, key=lambda pair: pair[1])))


def loops(
    pipeline: Pipeline, texts: Sequence[str], voice: Voice, options: SynthesisOptions
) -> float:
    """Mean share of looping tokens over texts."""
    once = options.model_copy(update={"takes": 1})
    made = [loop_share(pipeline.synthesise(t, voice, once).tokens.tolist()) for t in texts]
    return sum(made) / len(made)
