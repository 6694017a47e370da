"""Judges by name: the field's standard ones where a hub can be reached, the offline stand-ins else.

`choose(standard=True)` tries the standard judges one by one and falls back to what `fetch` puts
together; `NamedJudges.names` says who really listened, and the table prints it. Whisper sizes and
Paraformer recognise, WavLM-SV tells voices apart, UTMOS rates. Nothing is downloaded unless asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fetch import DEFAULT_FOLDER
from .judges import (
    RATE,
    ERes2NetJudge,
    Judges,
    Naturalness,
    Recogniser,
    SpeakerJudge,
    Wave,
    WeSpeaker,
)
from .missing import JudgeMissing

STANDARD_RECOGNISER, STANDARD_SPEAKER, STANDARD_RATER = "large-v3", "wavlm-sv", "utmos"
OFFLINE_RECOGNISER, OFFLINE_SPEAKERS, OFFLINE_RATER = "base", ("wespeaker", "eres2net"), "dnsmos"
WHISPER_SIZES = ("tiny", "base", "small", "medium", "large-v2", "large-v3")
WAVLM, UTMOS, PARAFORMER = "microsoft/wavlm-base-plus-sv", "balacoon/utmos", "paraformer-zh"


def _hub(package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise JudgeMissing(
            f"this judge needs the package {error.name!r}: pip install it"
        ) from error


class WavLMJudge:
    """WavLM with an x-vector head, from the hub: the kind of judge of the published tables."""

    name = "wavlm-sv"

    def __init__(self) -> None:
        models = _hub("transformers")
        self._torch = _hub("torch")
        self._prepare = models.AutoFeatureExtractor.from_pretrained(WAVLM)
        self._model = models.WavLMForXVector.from_pretrained(WAVLM).eval()

    def __call__(self, wave: Wave) -> NDArray[np.float32]:
        """A wave [N] -> an embedding [512] of length 1."""
        given = self._prepare(wave, sampling_rate=RATE, return_tensors="pt")
        with self._torch.inference_mode():
            vector = self._model(**given).embeddings[0].numpy()
        return vector / max(1e-9, float(np.linalg.norm(vector)))


class UtmosRater:
    """UTMOS strong learner as a TorchScript file from the hub: 1-5."""

    name = "utmos"

    def __init__(self) -> None:
        self._torch = _hub("torch")
        path = _hub("huggingface_hub").hf_hub_download(UTMOS, "utmos.jit")
        self._model = self._torch.jit.load(path, map_location="cpu").eval()

    def __call__(self, wave: Wave) -> float:
        """A wave [N] -> score."""
        with self._torch.inference_mode():
            return float(self._model(self._torch.from_numpy(wave)[None]).mean())


class ParaformerRecogniser:
    """Paraformer for Mandarin (funasr, from the hub); English goes to the given Whisper."""

    def __init__(self, english: Recogniser) -> None:
        self._english = english
        self._model = _hub("funasr").AutoModel(model=PARAFORMER, disable_update=True)
        self.name = f"paraformer (zh), {english.name} (en)"

    def __call__(self, waves: Sequence[Wave], language: str) -> list[str]:
        """Waves -> what was said."""
        if language != "zh":
            return self._english(waves, language)
        return [self._model.generate(input=wave)[0]["text"] for wave in waves]


SPEAKERS: dict[str, Callable[[Path, int], SpeakerJudge]] = {
    "wespeaker": WeSpeaker,
    "eres2net": lambda folder, threads: ERes2NetJudge(folder),
    "wavlm-sv": lambda folder, threads: WavLMJudge(),
}
RATERS: dict[str, Callable[[Path, int], Any]] = {
    "dnsmos": Naturalness,
    "utmos": lambda folder, threads: UtmosRater(),
}


def _whisper(name: str, folder: Path, threads: int) -> Any:
    offline = name == OFFLINE_RECOGNISER and (folder / "whisper-base").is_dir()
    return Recogniser(folder, model=None if offline else name, threads=threads)


class NamedJudges(Judges):
    """Judges picked by name; each loads when it is first asked."""

    def __init__(
        self,
        recogniser: str = OFFLINE_RECOGNISER,
        speakers: Sequence[str] = OFFLINE_SPEAKERS,
        rater: str = OFFLINE_RATER,
        folder: Path = DEFAULT_FOLDER,
        threads: int = 1,
    ) -> None:
        super().__init__(folder, threads=threads, recogniser=recogniser)
        _known(recogniser, (*WHISPER_SIZES, "paraformer"), "recogniser")
        for name in speakers:
            _known(name, tuple(SPEAKERS), "speaker judge")
        _known(rater, tuple(RATERS), "rater")
        self.asked = (recogniser, tuple(speakers), rater)

    @cached_property
    def recogniser(self) -> Any:  # type: ignore[override]
        """What was said."""
        name = self.asked[0]
        if name == "paraformer":
            return ParaformerRecogniser(_whisper(OFFLINE_RECOGNISER, self.folder, self.threads))
        return _whisper(name, self.folder, self.threads)

    @cached_property
    def speakers(self) -> tuple[SpeakerJudge, ...]:  # type: ignore[override]
        """Who said it."""
        return tuple(SPEAKERS[name](self.folder, self.threads) for name in self.asked[1])

    @cached_property
    def naturalness(self) -> Any:  # type: ignore[override]
        """How it sounds."""
        return RATERS[self.asked[2]](self.folder, self.threads)

    @property
    def names(self) -> dict[str, str]:
        """Who listens, for the table."""
        recogniser, speakers, rater = self.asked
        whisper = recogniser if recogniser == "paraformer" else f"whisper {recogniser}"
        return {"recogniser": whisper, "speakers": ", ".join(speakers), "rater": rater}


def _known(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise ValueError(f"no {what} named {name!r}; there are: {', '.join(known)}")


def choose(
    folder: Path = DEFAULT_FOLDER, *, standard: bool = False, threads: int = 1
) -> tuple[NamedJudges, list[str]]:
    """The judges, and a note for each standard one that was asked for and could not be had."""
    if not standard:
        return NamedJudges(folder=folder, threads=threads), []
    notes: list[str] = []
    found: list[str] = []
    for name, stand_in, load in (
        (STANDARD_RECOGNISER, OFFLINE_RECOGNISER, lambda: _whisper(STANDARD_RECOGNISER, folder, 1)),
        (STANDARD_SPEAKER, "", WavLMJudge),
        (STANDARD_RATER, OFFLINE_RATER, UtmosRater),
    ):
        try:
            load()
            found.append(name)
        except (OSError, ImportError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            instead = stand_in or " and ".join(OFFLINE_SPEAKERS)
            notes.append(f"{name} is out of reach ({reason}); {instead} listened instead")
            found.append(stand_in)
    speakers = (found[1], OFFLINE_SPEAKERS[1]) if found[1] else OFFLINE_SPEAKERS
    return NamedJudges(found[0], speakers, found[2], folder, threads), notes
