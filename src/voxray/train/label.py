"""Phoneme labels for a prepared corpus: `labels.jsonl`, one row a clip: ids and frame spans.

Teacher clips carry the teacher's exact times; people's clips are aligned by force once a content
encoder exists (`align_people`). Clips whose sound does not match their text are left out, counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxray.pieces import closed
from voxray.text import TextPipeline

from .align import forced_spans, teacher_spans
from .store import Entry, Store

FRAME = 480  # samples per label frame
STAMP = "text.json"  # which front end read a store's texts
TEACHER, PEOPLE = "labels.jsonl", "labels_people.jsonl"  # exact times, and aligned by force
UNTOLD = "labels_untold.jsonl"  # clips of people that nobody could align: one silence for a text
WORST_MATCH = 1.2  # of 2.0: mean score of a Needleman-Wunsch column


@dataclass(frozen=True)
class Label:
    """Phoneme ids [P] of a clip and their spans [P, 2] in frames of 20 ms."""

    ids: np.ndarray
    spans: np.ndarray


def stamp(folder: Path) -> None:
    """Note which text front end the labels of a store were made with."""
    row = json.dumps({"fingerprint": TextPipeline().fingerprint})
    (folder / STAMP).write_text(row + "\n", encoding="utf-8")


def check_stamp(folder: Path) -> None:
    """ValueError where a store's labels were made with another text front end than today's."""
    path = folder / STAMP
    if path.is_file():
        made = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
        check_front_end(f"the labels in {folder}", made, TextPipeline())


def check_front_end(what: str, made: str, text: TextPipeline) -> None:
    """ValueError where `what` was made with another front end than `text`; "": nobody knows."""
    if made and made != text.fingerprint:
        raise ValueError(
            f"{what} were made with the text front end {made}, this one is {text.fingerprint}: a model must "
            "learn and speak with one; label anew (`voxray data prepare`), or install the versions that "
            "`voxray text check` names"
        )


def label_teacher(
    folder: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write labels of all teacher clips; returns counts of labelled and refused clips."""
    store, text = Store(folder), TextPipeline()
    report: Counter[str] = Counter()
    beside = folder / "labels.jsonl.part"
    with beside.open("w", encoding="utf-8") as file:
        for i, entry in enumerate(store.entries):
            if entry.durations:
                row = _row(entry, text, report)
                if row:
                    file.write(json.dumps(row) + "\n")
            if progress:
                progress(i + 1, len(store.entries))
    beside.replace(folder / "labels.jsonl")
    stamp(folder)
    return dict(report)


def _row(entry: Entry, text: TextPipeline, report: Counter[str]) -> dict[str, object] | None:
    try:
        phonemes = text(entry.text, entry.language)  # type: ignore[arg-type]
    except ValueError:
        report["text refused"] += 1
        return None
    if not phonemes.items:
        report["no phonemes"] += 1
        return None
    spans, quality = teacher_spans(phonemes, entry.phones, entry.durations, entry.samples // FRAME)
    if quality < WORST_MATCH:
        report["text and phones differ"] += 1
        return None
    report["labelled"] += 1
    return {"name": entry.name, "ids": phonemes.ids, "spans": spans.tolist()}


def read_labels(folder: Path, names: tuple[str, ...] = ("labels.jsonl",)) -> dict[str, Label]:
    """All labels of a store by clip name; later files override earlier ones."""
    labels: dict[str, Label] = {}
    for name in names:
        path = folder / name
        if not path.exists():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            labels[row["name"]] = Label(np.array(row["ids"]), np.array(row["spans"]))
    return labels


def levels(store: Store, entry: Entry) -> np.ndarray:
    """Loudness of each label frame of a clip in dB: [T]."""
    count = entry.samples // FRAME
    wave = store.audio(entry)[: count * FRAME].reshape(count, FRAME)
    return 10 * np.log10(np.square(wave).mean(1) + 1e-9)


def _lines(path: Path) -> dict[str, str]:
    """The lines of a file of labels, by clip."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return {json.loads(line)["name"]: line for line in lines}


def align_people(
    folder: Path,
    scores: Mapping[str, np.ndarray],
    silence: int,
    pauses: list[int],
    least: float = -2.5,
    *,
    keep: bool = False,
) -> dict[str, int]:
    """Force-align clips without exact times; `labels_people.jsonl`. Poor matches, and clips without a text, go to
    `labels_untold.jsonl`: of their voices the generator learns all the same.

    `scores` holds log-probabilities [T, symbols] at 50 Hz of each clip; `least` is the worst mean accepted. `keep`: what
    is in those files already stays as it is.
    """
    store, text = Store(folder), TextPipeline()
    report: Counter[str] = Counter()
    told, untold = (folder / f"{name}.part" for name in (PEOPLE, UNTOLD))
    before = {name: _lines(folder / name) if keep else {} for name in (PEOPLE, UNTOLD)}
    known = set().union(*before.values())
    if known:
        report["aligned before"] = len(known)
    with told.open("w", encoding="utf-8") as file, untold.open("w", encoding="utf-8") as rest:
        file.writelines(before[PEOPLE].values())
        rest.writelines(before[UNTOLD].values())
        for entry in store.entries:
            if entry.name not in scores or entry.name in known:
                continue
            ids = closed(text(entry.text, entry.language)).ids if entry.text else []  # type: ignore[arg-type]
            log_probs, score = scores[entry.name], -np.inf
            if 2 <= len(ids) <= len(log_probs) // 2:
                labels = [silence if i in pauses else i for i in ids]
                spans, score = forced_spans(log_probs, labels, silence, levels(store, entry))
                report["aligned" if score >= least else "sound and text differ"] += 1
            else:
                report["text too long for the sound" if ids else "no text"] += 1
            if score >= least:
                row = {"name": entry.name, "ids": ids, "spans": spans.tolist(), "score": score}
                file.write(json.dumps(row) + "\n")
            else:
                row = {"name": entry.name, "ids": [silence], "spans": [[0, len(log_probs)]]}
                rest.write(json.dumps(row) + "\n")
    told.replace(folder / PEOPLE)
    untold.replace(folder / UNTOLD)
    return dict(report)
