"""One sitting of the exam: a planted model or its twin, a tool that knows nothing of it, a mark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import plants
import plants_memory
from plants import Planted
from plants_memory import Remembered

from voxray.explain import reference
from voxray.explain.reference import LookUp
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


def look_up(seed: int, planted: bool) -> list[Mark]:
    """Is it what is looked up in the reference, and at which moment? The twin looks there as well: it is
    not asked for the moment, which attention alone tells.
    """
    case = plants_memory.look_up(seed, planted=planted)
    marks = _roads(case, seed, planted)
    if planted:
        marks.append(_moment("moment looked up", case, reference.look_ups(case.speech), seed))
    return marks


def retrieval(seed: int, planted: bool) -> list[Mark]:
    """Is it the fine detail copied from the reference, and from which moment? What a twin copies was copied, too:
    it is not asked.
    """
    case = plants_memory.retrieval(seed, planted=planted)
    marks = _roads(case, seed, planted)
    if planted:
        marks.append(_moment("moment copied", case, reference.retrievals(case.speech), seed))
    return marks


def _roads(case: Remembered, seed: int, planted: bool) -> list[Mark]:
    """The road of the memory against the other road, couplings, heads of the prior and the speaker vector."""
    (kind,) = case.truth
    try:
        answer = why(case.speech, word=case.event_word, what=case.what, draws=DRAWS)
    except ValueError as error:
        return [Mark(kind, seed, planted, False, False, str(error))]
    rivals = ("look-up", "retrieval", "coupling", "prior head", "speaker")
    ranked = [cause for cause in answer.causes if cause.kind in rivals]
    mine = answer.of(kind)[0]
    said = f"{ranked[0].name} ({ranked[0].share:.0%})"
    return [Mark(kind, seed, planted, ranked[0].kind == kind, mine.certain, said)]


def _moment(tool: str, case: Remembered, found: list[LookUp], seed: int) -> Mark:
    """Whether the strongest moment of the word lies on the planted one."""
    mine = next(one for one in found if one.word == case.event_word)
    if not mine.moments or mine.nothing > 0.5:
        return Mark(tool, seed, True, False, False, "nothing alike")
    best = mine.moments[0]
    right = best.start_s < case.moment[1] and best.end_s > case.moment[0]
    return Mark(tool, seed, True, right, True, f"{best.start_s:.2f} s ({best.weight:.0%})")


SITTINGS: dict[str, Callable[[int, bool], list[Mark]]] = {
    "chain": chain,
    "coupling": coupling,
    "speaker": speaker,
    "look_up": look_up,
    "retrieval": retrieval,
}
