"""What the judges say of real people and of the teacher, measured once and kept.

Goals are relative to the teacher's figures on the same texts. Its audio is not part of the
project, its scores are: `benchmarks/results/baseline.jsonl`, one `Score` a line, made by
`benchmarks/quality.py --baseline`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .harness import Score, Take, from_json, recording, to_json
from .report import REAL, TEACHER
from .sets import Clip

SLOW_READERS = ("so96", "so70", "so80")  # of speechocean762: read at half speed, often misheard
LONG_SECONDS = 10.0


def teacher_takes(clips: Iterable[Clip]) -> Iterator[Take]:
    """The teacher's clips of the texts that it was not asked to teach."""
    for clip in clips:
        if clip.split == "test":
            yield recording(TEACHER, clip, _kind(clip))


def real_takes(clips: Sequence[Clip], most: int) -> Iterator[Take]:
    """Real speech with human transcripts, test speakers, at most `most` clips a corpus."""
    fitting = [
        clip
        for clip in clips
        if clip.split.endswith("test")
        and clip.text_source == "human"
        and not clip.speaker.startswith(SLOW_READERS)
    ]
    for corpus in sorted({clip.corpus for clip in fitting}):
        own = [clip for clip in fitting if clip.corpus == corpus]
        step = max(1, -(-len(own) // most))
        for clip in own[::step]:
            yield recording(f"{REAL}: {corpus}", clip, _kind(clip))


def _kind(clip: Clip) -> str:
    return "long" if clip.seconds > LONG_SECONDS else "sentence"


def read(path: Path) -> list[Score]:
    """Scores kept before; none if there is no such file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [from_json(json.loads(line)) for line in lines if line.strip()]


def append(path: Path, scores: Iterable[Score]) -> int:
    """Add scores to the file as they come; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("a", encoding="utf-8") as file:
        for score in scores:
            count += 1
            file.write(json.dumps(to_json(score), ensure_ascii=False) + "\n")
            file.flush()
    return count


def unjudged(takes: Iterable[Take], known: Sequence[Score]) -> Iterator[Take]:
    """Takes that are not among the scores yet: a run that was cut off goes on."""
    done = {(score.row, score.id) for score in known}
    return (take for take in takes if (take.task.row, take.task.line.id) not in done)
