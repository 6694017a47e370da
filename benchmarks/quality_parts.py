"""A whole run of `quality.py` in parts: what has been scored before is not scored again, and runs share the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxray.evaluate import baseline
from voxray.evaluate.harness import Score, Take, Task
from voxray.evaluate.sets import Clip, Line, Reference


@dataclass(frozen=True)
class Part:
    """Which tasks are left to do: not those `done` before, and of the others every `of`-th."""

    done: frozenset[tuple[str, str, int]] = frozenset()
    number: int = 0
    of: int = 1

    def left(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks to do."""
        for place, task in enumerate(tasks):
            if (
                place % self.of == self.number
                and _key(task.row, task.line, task.seed) not in self.done
            ):
                yield task

    def left_of(self, takes: Iterable[Take]) -> Iterator[Take]:
        """The recordings to judge."""
        for place, take in enumerate(takes):
            known = _key(take.task.row, take.task.line, 0) in self.done
            if place % self.of == self.number and not known:
                yield take

    def clips(self, pairs: Sequence[tuple[Clip, Reference]]) -> Iterator[tuple[Clip, Reference]]:
        """The ladder's recordings to do."""
        from voxray.evaluate import rows

        for place, (clip, reference) in enumerate(pairs):
            name = f"{clip.speaker}-{clip.path.stem}"
            known = (rows.RUNGS[-1], f"{clip.language}:{name}", 0) in self.done
            if place % self.of == self.number and not known:
                yield clip, reference


def _key(row: str, line: Line, seed: int) -> tuple[str, str, int]:
    return row, f"{line.language}:{line.id}", seed


def kept_scores(folder: Path | None) -> list[Score]:
    """What earlier runs have left in `--keep`, whichever share made it; the newest of each clip."""
    files = sorted(folder.glob("scores*.jsonl")) if folder else []
    scores = [score for file in files for score in baseline.read(file)]
    known = {(s.row, s.language, s.id, s.seed, s.speaker): s for s in scores}
    return list(known.values())


def part_of(share: str, kept: Sequence[Score]) -> Part:
    """`0/2` -> every second task, from the first on; ValueError for anything else."""
    number, _, of = share.partition("/")
    if not (number.isdigit() and of.isdigit() and int(number) < int(of)):
        raise ValueError(f"--share is {share!r}; it wants NUMBER/OF, such as 0/2 and 1/2")
    done = frozenset((s.row, f"{s.language}:{s.id}", s.seed) for s in kept)
    return Part(done, int(number), int(of))
