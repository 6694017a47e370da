"""One sitting of the exam: a planted model or its twin, a tool that knows nothing of it, a mark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import plants
from plants import Planted

from voxray.explain.timbre import rank_dimensions
from voxray.explain.why import why

DRAWS = 6  # what `why` does if nobody says otherwise


@dataclass(frozen=True)
class Mark:
    """How a tool did on one model. `right`: ranked first; `named`: it called something a cause."""

    tool: str
    seed: int
    planted: bool
    right: bool
    named: bool
    answer: str


def _why(case: Planted, kinds: dict[str, str], seed: int, planted: bool) -> list[Mark]:
    try:
        answer = why(case.speech, word=case.event_word, what=case.what, draws=DRAWS)
    except ValueError as error:  # nothing stands out: the answer is that there is no event
        return [Mark(kind, seed, planted, False, False, str(error)) for kind in kinds]
    marks = []
    for kind, truth in kinds.items():
        first = answer.of(kind)[0]
        named = any(cause.certain for cause in answer.of(kind))
        said = f"{first.name} ({first.share:.0%})"
        marks.append(Mark(kind, seed, planted, first.name == truth, named, said))
    return marks


def chain(seed: int, planted: bool) -> list[Mark]:
    """Which word, head, layer and token. The twin's token still raises pitch: it is not asked."""
    case = plants.chain(seed, planted=planted)
    kinds = {kind: name for kind, name in case.truth.items() if planted or kind != "token"}
    return _why(case, kinds, seed, planted)


def coupling(seed: int, planted: bool) -> list[Mark]:
    """Which coupling."""
    case = plants.coupling(seed, planted=planted)
    return _why(case, case.truth, seed, planted)


def speaker(seed: int, planted: bool) -> list[Mark]:
    """Which dimension of the speaker vector."""
    case = plants.speaker(seed, planted=planted)
    ranking = rank_dimensions(case.speech, case.speech.passages[0])
    right = str(ranking.order[0]) == case.truth["dimension"]
    said = f"{ranking.order[0]} ({ranking.shares[0]:.0%})"
    return [Mark("dimension", seed, planted, right, ranking.certain, said)]


SITTINGS: dict[str, Callable[[int, bool], list[Mark]]] = {
    "chain": chain,
    "coupling": coupling,
    "speaker": speaker,
}
