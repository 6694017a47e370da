"""The fakes of our own model on which the detector is trained.

    python benchmarks/forensics_own.py --out FOLDER --each 250 --minutes 10

Four kinds, a folder each: `say` (texts in built-in voices), `clone` (texts in voices of people),
`convert` (people's clips in other voices), `rebuild` (the decoder from the latents of a
recording). People are of the train split of the shared speech, texts are the teacher's train
texts. The built-in voices in `HELD_OUT` stay out: `benchmarks/forensics.py` tests on them. Files
are 16 kHz FLAC, unmarked, for training only; they are made in turn, so an early end leaves all
kinds. This stands outside the package, which has no writer of unmarked speech.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import torch
import typer
from numpy.typing import NDArray

from voxray import audio
from voxray.engine import tts
from voxray.forensics.matching import RATE
from voxray.forensics.material import rows
from voxray.pipeline import Pipeline, SynthesisOptions
from voxray.voice import Voice, builtin_names

Wave = NDArray[np.float32]
SHARED = Path(__file__).resolve().parents[2] / "shared"
HELD_OUT = ("george", "xiaoni")  # built-in voices that only the test hears
HEARD, SAID = 6.0, 4.0  # seconds of a reference, of a clip that is converted
LETTERS = {"en": (25, 60), "zh": (8, 20)}  # of a text


@dataclass
class Source:
    """What the kinds draw from."""

    pipeline: Pipeline
    people: list[Path]
    texts: dict[str, list[str]]
    dice: np.random.Generator
    split: str = "train"

    def voices(self) -> list[str]:
        """The built-in voices of this split."""
        return [n for n in builtin_names() if (n in HELD_OUT) == (self.split == "test")]

    def person(self, seconds: float) -> tuple[Wave, int]:
        """Up to so many seconds of somebody."""
        wave, rate = audio.read_audio(self.people[int(self.dice.integers(len(self.people)))])
        wanted = round(seconds * rate)
        begin = int(self.dice.integers(0, max(1, len(wave) - wanted)))
        return wave[begin : begin + wanted], rate

    def text(self, language: str) -> str:
        """A sentence."""
        pool = self.texts[language]
        return pool[int(self.dice.integers(len(pool)))]

    def builtin(self) -> Voice:
        """A built-in voice."""
        return Voice.builtin(str(self.dice.choice(self.voices())))

    def cloned(self) -> Voice:
        """The voice of a person."""
        return Voice.heard("cloned", *self.person(HEARD), self.pipeline.models)

    def options(self) -> SynthesisOptions:
        """A seed."""
        return SynthesisOptions(seed=int(self.dice.integers(1 << 30)))


def say(source: Source) -> tuple[Wave, int]:
    """A text in a built-in voice."""
    voice = source.builtin()
    language = voice.language[:2] if voice.language[:2] in LETTERS else "en"
    made = source.pipeline.synthesise(source.text(language), voice, source.options())
    return made.audio, made.sample_rate


def clone(source: Source) -> tuple[Wave, int]:
    """A text in the voice of a person."""
    text = source.text(str(source.dice.choice(sorted(LETTERS))))
    made = source.pipeline.synthesise(text, source.cloned(), source.options())
    return made.audio, made.sample_rate


def convert(source: Source) -> tuple[Wave, int]:
    """A person's clip in another voice."""
    voice = source.builtin() if source.dice.random() < 0.5 else source.cloned()
    made = source.pipeline.convert(*source.person(SAID), voice, source.options())
    return made.audio, made.sample_rate


@torch.inference_mode()
def rebuild(source: Source) -> tuple[Wave, int]:
    """The decoder from the latents of a recording: what no model of tokens could do better."""
    models = source.pipeline.models
    wave, rate = source.person(SAID)
    memory = models.memory(wave, rate)
    if memory is None:
        raise ValueError("the model hears no latents: there is nothing to rebuild")
    noise = torch.from_numpy(source.dice.standard_normal((1, 480 * memory.frames)).astype("f4"))
    speaker = models.speaker_vector(wave, rate)[None]
    made, _ = models.generator.decoder.speak(memory.latents, speaker, noise)  # type: ignore[union-attr]
    return made.flatten().numpy(), models.generator.config.sample_rate


KINDS: dict[str, Callable[[Source], tuple[Wave, int]]] = {
    "say": say, "convert": convert, "clone": clone, "rebuild": rebuild,
}  # fmt: skip


def source(split: str, seed: int, shared: Path = SHARED) -> Source:
    """People and texts of a split."""
    people = [
        shared / "speech" / row["path"]
        for row in rows(shared / "speech" / "manifest.tsv")
        if row["split"] == split and row["use"] == "train" and float(row["duration_s"]) >= 3.0
    ]
    ending = "_test" if split == "test" else ""
    texts = {
        language: [
            row["text"]
            for row in rows(shared / "teacher" / f"texts_{language}{ending}.tsv")
            if LETTERS[language][0] <= len(row["text"]) <= LETTERS[language][1]
        ]
        for language in LETTERS
    }
    return Source(tts.pipeline(), people, texts, np.random.default_rng(seed), split)


def make(path: Path, kind: str, drawn: Source) -> None:
    """One file."""
    wave, rate = KINDS[kind](drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.clip(audio.resample(np.asarray(wave, np.float32), rate, RATE), -1, 1)
    soundfile.write(path, wave, RATE)


def main(
    out: Annotated[Path, typer.Option(help="Where the files go.")],
    each: Annotated[int, typer.Option(help="Files of each kind.")] = 250,
    minutes: Annotated[float, typer.Option(help="At most so long.")] = 60.0,
    seed: Annotated[int, typer.Option()] = 0,
    kinds: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(KINDS),
) -> None:
    """Make what is not there yet."""
    drawn, began = source("train", seed), time.monotonic()
    for number in range(each):
        for kind in kinds.split(","):
            path = out / kind / f"{number:04d}.flac"
            if time.monotonic() - began > 60 * minutes:
                raise SystemExit(0)
            if not path.exists():
                make(path, kind, drawn)


if __name__ == "__main__":
    typer.run(main)
