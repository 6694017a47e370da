"""Make the built-in voices anew: speaker vectors of synthetic speech, as a model hears them.

    python docs/make_voices.py MODEL TEACHER_FOLDER [TARGET_FOLDER]

A voice is the mean of its vectors over some clips of one voice of the teacher (Apache-2.0), with the frames of their
first 20 seconds; no real person.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from voxray import audio
from voxray.bundle import Bundle
from voxray.packaged import BUILTIN
from voxray.voice import Voice, prepare

VOICES = {
    "george": ("bm_george", "en", "a man, British"),
    "michael": ("am_michael", "en", "a man, American"),
    "nova": ("af_nova", "en", "a woman, American"),
    "xiaoni": ("zf_xiaoni", "zh", "a woman"),
    "xiaoyi": ("zf_xiaoyi", "zh", "a woman"),
    "yunyang": ("zm_yunyang", "zh", "a man"),
}
CLIPS, SHORTEST = 12, 2.5  # seconds


def clips(folder: Path, speaker: str) -> list[Path]:
    """The first clips of an unmixed teacher voice that are long enough."""
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = [
        folder / row["path"]
        for row in rows
        if row["voice"].split(":")[0] == speaker
        and "+" not in row["voice"]
        and float(row["duration"]) >= SHORTEST
    ]
    return found[:CLIPS]


def make(model: Bundle, folder: Path, name: str) -> Voice:
    """One voice; ValueError if the teacher's folder lacks it."""
    speaker, language, about = VOICES[name]
    paths = clips(folder, speaker)
    if not paths:
        raise ValueError(f"no clips of {speaker} in {folder}")
    references = [prepare(*audio.read_audio(path), path.name) for path in paths]
    waves, rate = [r.heard_by(model) for r in references], references[0].rate
    heard = [Voice.heard(name, wave, rate, model) for wave in waves]
    mean = heard[0].averaged(heard[1:])
    memory = model.memory(np.concatenate(waves), rate, mean.speaker)
    return replace(
        mean.remembering(
            memory and replace(memory, correction=None)
        ),  # it costs more than it gives here
        language=language,
        source=f"teacher voice {speaker}, {len(paths)} clips",
        licence="Apache-2.0",
        card=f"{about}; the speaker vector of synthetic speech (teacher voice {speaker}, "
        f"{len(paths)} clips); no real person",
    )


def main() -> None:
    """The command."""
    model, folder = Bundle.load(sys.argv[1]), Path(sys.argv[2])
    target = Path(sys.argv[3]) if len(sys.argv) > 3 else BUILTIN / "voices"
    target.mkdir(parents=True, exist_ok=True)
    for name in VOICES:
        make(model, folder, name).save(target / f"{name}.safetensors")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
