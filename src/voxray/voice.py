"""A voice: who speaks (speaker vector [G]) and, if wanted, how (style: prompt tokens + phonemes).

`Voice.from_file` judges a recording before it uses it: what cannot become a voice is refused with
the reason, what will cost quality is warned of with the measured figure. A voice saves to one
safetensors file with its card, and speaks again without the recording.
"""

from __future__ import annotations

import json
import os
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from . import audio
from .audio.published import check_length
from .bundle import MEMORY_SECONDS, Bundle
from .cleaning import cleaned
from .models.memory import Memory
from .pieces import closed

FORMAT_VERSION = 1
REQUIRED = ["prompt_phonemes", "prompt_tokens", "speaker"]
OPTIONAL = frozenset(
    {"memory_correction", "memory_latents", "memory_tokens", "prompt_context", "prompt_mel"}
)
SHORTEST, RECOMMENDED, LONGEST = 1.0, 3.0, 30.0  # seconds
LONGEST_STYLE = 15.0  # a prompt takes the room of what can be said in one breath
NOISY_DB, HOPELESS_DB = 20.0, 5.0
CLEANED_DB = 30.0  # SNR below which a recording is heard without its noise
CLIPPED, ECHOING_SECONDS, LEAST_SPEECH = 0.001, 0.8, 0.5
MOST_TOKENS = 25 * MEMORY_SECONDS  # remembered of a reference
NOISE_COST: tuple[
    tuple[float, str], ...
] = (  # (SNR below which, measured cost), rising; benchmarks/snr.py
    (
        10.0,
        "measured at 5 dB: 53 % of the likeness, 0.1 points of DNSMOS and 1 word in a hundred lost",
    ),
    (
        20.0,
        "measured at 10 dB: 41 % of the likeness, 0.1 points of DNSMOS and 1 word in a hundred lost",
    ),
)


class VoiceWarning(UserWarning):
    """A recording that makes a worse voice than it could."""


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how. `prompt_tokens` and `prompt_phonemes` are the style reference."""

    name: str
    speaker: Tensor  # [G]
    prompt_tokens: tuple[int, ...] = ()
    prompt_phonemes: tuple[int, ...] = ()
    prompt_context: Tensor | None = None  # [P, E], of models with context features
    prompt_mel: Tensor | None = None  # [M, L], of models that go on from a mel
    memory_tokens: Tensor | None = None  # [S], of models that look up the reference's frames
    memory_latents: Tensor | None = None  # [Z, 2 S], the same
    memory_correction: Tensor | None = None  # [Z, F + 2]: how it differs from what is said of it
    language: str = ""
    model: str = ""
    fingerprint: str = ""  # of the text front end that made prompt_phonemes
    source: str = ""
    licence: str = ""
    card: str = ""
    recording: dict[str, float] = field(default_factory=dict)  # what was measured
    warnings: tuple[str, ...] = ()

    @property
    def memory(self) -> Memory | None:
        """The reference's frames, where the voice holds them."""
        if self.memory_tokens is None or self.memory_latents is None:
            return None
        correction = self.memory_correction
        return Memory(
            self.memory_tokens[None].long(),
            self.memory_latents[None].float(),
            correction=None if correction is None else correction[None].float(),
        )

    @staticmethod
    def heard(name: str, wave: np.ndarray, rate: int, model: Bundle, **card: Any) -> Voice:
        """The voice of a wave [N] as it is: nothing is judged or cut."""
        speaker = model.speaker_vector(wave, rate)
        memory = model.memory(wave, rate, speaker)
        return Voice(name, speaker, model=model.hears_as, **card).remembering(memory)

    def remembering(self, memory: Memory | None) -> Voice:
        """The same voice with a reference's frames, as `Bundle.memory` hears them; None: with none."""
        if memory is None:
            return replace(self, memory_tokens=None, memory_latents=None, memory_correction=None)
        known = memory.correction
        return replace(
            self,
            memory_tokens=memory.tokens[0].to(torch.int16),
            memory_latents=memory.latents[0].half(),
            memory_correction=None if known is None else known[0].half(),
        )

    @staticmethod
    def from_file(
        path: str | Path,
        transcript: str | None = None,
        *,
        style: str | Path | None = None,
        name: str | None = None,
        model: Bundle | None = None,
        licence: str = "",
        card: str = "",
        clean: bool = True,
    ) -> Voice:
        """Clone a voice from 3-30 s of speech in any common format.

        With a `transcript`, the manner of speaking is taken too: from the recording itself, or
        from a `style` recording (of which it is then the transcript). A noisy recording is heard
        without its noise (`cleaning.py`), unless `clean` is False; by published models as it is.
        """
        if style is not None and not transcript:
            raise ValueError("a style reference needs its transcript")
        models = model or Bundle.builtin()
        reference = prepare(*audio.read_audio(path), str(path), clean)
        wave = reference.heard_by(models)
        for note in reference.notes:
            warnings.warn(note, VoiceWarning, stacklevel=2)
        voice = Voice.heard(
            name or Path(path).stem,
            wave,
            reference.rate,
            models,
            source=Path(path).name,
            licence=licence,
            card=card,
            recording=reference.card_for(models),
            warnings=tuple(reference.notes),
        )
        if not transcript:
            return voice
        manner = path if style is None else style
        return voice.with_style(manner, transcript, model=models, clean=clean)

    def with_style(
        self, path: str | Path, transcript: str, *, model: Bundle | None = None, clean: bool = True
    ) -> Voice:
        """The same speaker in the manner of another recording (up to 15 s, with transcript)."""
        models = model or Bundle.builtin()
        reference = prepare(*audio.read_audio(path), str(path), clean)
        wave, rate = reference.heard_by(models), reference.rate
        if len(wave) > LONGEST_STYLE * rate:
            raise ValueError(
                f"{path} has {len(wave) / rate:.1f} s of speech; "
                f"a style reference may have {LONGEST_STYLE:.0f} s"
            )
        pipeline = models.text_pipeline()
        phonemes = pipeline(transcript)
        if not any(item.word >= 0 for item in phonemes.items):
            raise ValueError("the transcript holds no words in a language of this model")
        said = closed(phonemes) if pipeline.convention == "voxray" else phonemes
        return replace(
            self,
            prompt_tokens=tuple(models.prompt_tokens(wave, rate)),
            prompt_phonemes=tuple(said.ids),
            prompt_context=models.context(phonemes),
            prompt_mel=models.prompt_mel(wave, rate),
            fingerprint=pipeline.fingerprint,
            warnings=tuple(dict.fromkeys((*self.warnings, *reference.notes))),
        )

    def averaged(self, others: Sequence[Voice]) -> Voice:
        """The same manner with the mean timbre of several voices of one model (this one counts, too)."""
        widths = {len(voice.speaker) for voice in (self, *others)}
        if len(widths) > 1:
            raise ValueError("voices of different models cannot be averaged: make them with one")
        voices = (self, *others)
        mean = torch.stack([voice.speaker for voice in voices]).mean(0)
        return replace(self, speaker=mean, **_joined([voice.memory for voice in voices]))

    def save(self, path: str | Path) -> None:
        """Write the voice to one .safetensors file, whole or not at all."""
        target = Path(path)
        if target.suffix != ".safetensors":
            raise ValueError(f"a voice file's name ends in .safetensors, not {target.name!r}")
        tensors = {
            "speaker": self.speaker.contiguous(),
            "prompt_tokens": torch.tensor(self.prompt_tokens, dtype=torch.int64),
            "prompt_phonemes": torch.tensor(self.prompt_phonemes, dtype=torch.int64),
        }
        for optional in OPTIONAL:
            tensor = getattr(self, optional)
            if tensor is not None:
                tensors[optional] = tensor.contiguous()
        text = json.dumps(self.details(), ensure_ascii=False, sort_keys=True)
        data = safetensors.torch.save(tensors, {"voxray_voice": text})
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            part.write_bytes(data)
            os.replace(part, target)
        except OSError as error:
            raise OSError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)

    def details(self) -> dict[str, Any]:
        """The card: all but the tensors."""
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "language": self.language,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "source": self.source,
            "licence": self.licence,
            "card": self.card,
            "recording": self.recording,
            "warnings": list(self.warnings),
        }

    @staticmethod
    def load(path: str | Path) -> Voice:
        """Read a voice file; anything unexpected in it is an error."""
        target = Path(path)
        if not target.is_file():
            raise FileNotFoundError(f"no such voice file: {target}")
        try:
            with safetensors.safe_open(target, framework="pt") as file:
                text = (file.metadata() or {}).get("voxray_voice")
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except safetensors.SafetensorError as error:
            raise ValueError(f"{target} is not a voice file, or is damaged") from error
        if text is None:
            raise ValueError(f"{target} holds tensors but no voice")
        return _checked(target, json.loads(text), tensors)

    @staticmethod
    def builtin(name: str) -> Voice:
        """One of the voices that come with voxray."""
        if name not in builtin_names():
            known = ", ".join(builtin_names()) or "none in this installation"
            raise ValueError(f"no built-in voice named {name!r}; there are: {known}")
        with resources.as_file(_builtin_folder() / f"{name}.safetensors") as path:
            return Voice.load(path)


def _joined(memories: Sequence[Memory | None]) -> dict[str, Tensor]:
    """An equal part of each of several memories, as many tokens in all as one may have."""
    known = [memory for memory in memories if memory is not None]
    if not known:
        return {}
    parts = [memory.first(MOST_TOKENS // len(known)) for memory in known]
    joined = {
        "memory_tokens": torch.cat([p.tokens[0] for p in parts]).to(torch.int16),
        "memory_latents": torch.cat([p.latents[0] for p in parts], dim=1).half(),
    }
    corrections = [p.correction[0] for p in parts if p.correction is not None]
    if len(corrections) == len(parts):
        joined["memory_correction"] = torch.stack(corrections).mean(0).half()
    return joined


def _checked(path: Path, details: dict[str, Any], tensors: dict[str, Tensor]) -> Voice:
    version = details.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ValueError(f"{path} has voice format {version}; this voxray reads {FORMAT_VERSION}")
    if sorted(tensors.keys() - OPTIONAL) != REQUIRED:
        raise ValueError(f"{path} holds {sorted(tensors)}, which is not a voice")
    speaker = tensors["speaker"].float()
    if speaker.dim() != 1 or not bool(speaker.isfinite().all()):
        raise ValueError(f"{path}: the speaker vector is damaged")
    if _damaged(
        tensors.get("memory_tokens"),
        tensors.get("memory_latents"),
        tensors.get("memory_correction"),
    ):
        raise ValueError(f"{path}: what is remembered of the reference is damaged")
    try:
        return Voice(
            speaker=speaker,
            prompt_tokens=tuple(tensors["prompt_tokens"].tolist()),
            prompt_phonemes=tuple(tensors["prompt_phonemes"].tolist()),
            **{name: tensors.get(name) for name in OPTIONAL},
            warnings=tuple(details.pop("warnings", ())),
            **details,
        )
    except TypeError as error:
        raise ValueError(f"{path} has unknown or missing entries: {error}") from error


def _damaged(tokens: Tensor | None, latents: Tensor | None, correction: Tensor | None) -> bool:
    """Whether a memory's tokens [S], latents [Z, 2S] and correction [Z, F + 2] do not belong together."""
    if correction is not None:
        wide = correction.dim() == 2 and latents is not None and len(correction) == len(latents)
        if not wide or not bool(correction.isfinite().all()):
            return True
    if tokens is None or latents is None:
        return tokens is not latents
    if tokens.dim() != 1 or tokens.dtype.is_floating_point or not latents.dtype.is_floating_point:
        return True
    if latents.dim() != 2 or latents.shape[1] != 2 * len(tokens):
        return True
    return not bool(latents.isfinite().all()) or bool((tokens < 0).any())


def _builtin_folder() -> Any:
    return resources.files("voxray") / "builtin" / "voices"


def builtin_names() -> list[str]:
    """Names of the voices that come with voxray."""
    folder = _builtin_folder()
    if not folder.is_dir():
        return []
    files = (Path(entry.name) for entry in folder.iterdir())
    return sorted(file.stem for file in files if file.suffix == ".safetensors")


def find(voice: Voice | str | Path, *, model: Bundle | None = None) -> Voice:
    """A voice from what users write: a `Voice`, a built-in name, a voice file or a recording."""
    if isinstance(voice, Voice):
        return voice
    if not isinstance(voice, (str, Path)):
        raise ValueError(f"a voice is a Voice, a name or a file, not {type(voice).__name__}")
    if "\0" in str(voice):
        raise ValueError("the voice's name holds NUL bytes")
    if str(voice) in builtin_names():
        return Voice.builtin(str(voice))
    path = Path(voice)
    if path.suffix == ".safetensors":
        return Voice.load(path)
    if path.exists():
        return Voice.from_file(path, model=model)
    known = ", ".join(builtin_names())
    raise ValueError(
        f"no voice named {str(voice)!r}, and no such file"
        + (f"; built-in voices: {known}" if known else "")
    )


@dataclass(frozen=True)
class Reference:
    """A recording that may become a voice: whole, cut to its speech, and what was measured."""

    wave: np.ndarray  # [N], as recorded
    speech: np.ndarray  # without silent ends, at most 30 s
    rate: int  # of both
    measured: dict[str, float]
    notes: list[str]
    clean: bool = True  # whether noise is taken away before a model hears it

    def heard_by(self, models: Bundle) -> np.ndarray:
        """The part that a model was trained to hear, without its noise where it is noisy; the published models hear
        the whole as it is: ValueError if it has another length than theirs.
        """
        if not models.trims:
            check_length(self.wave, self.rate)
            return self.wave
        return cleaned(self.speech, self.rate) if self.is_cleaned_for(models) else self.speech

    def is_cleaned_for(self, models: Bundle) -> bool:
        """Whether a model hears it without its noise."""
        return models.trims and self.clean and self.measured["snr_db"] < CLEANED_DB

    def card_for(self, models: Bundle) -> dict[str, float]:
        """What was measured, and whether noise was taken away (1 or 0)."""
        return {**self.measured, "cleaned": float(self.is_cleaned_for(models))}


def prepare(wave: np.ndarray, rate: int, name: str, clean: bool = True) -> Reference:
    """Judge a reference wave [N]; ValueError says why it cannot become a voice."""
    if len(wave) < SHORTEST * rate:
        raise ValueError(
            f"{name} is {len(wave) / rate:.2f} s; a voice needs {RECOMMENDED:.0f}-{LONGEST:.0f} s"
        )
    if audio.rms_db(wave) < -70.0:
        raise ValueError(f"{name} is silent")
    report = audio.inspect(wave, rate)
    if report.snr_db < HOPELESS_DB:
        raise ValueError(
            f"{name} is mostly noise: {report.snr_db:.0f} dB signal to noise, "
            f"below {HOPELESS_DB:.0f} dB nothing can be cloned; {NOISY_DB:.0f} dB is good"
        )
    if report.speech < LEAST_SPEECH:
        raise ValueError(f"no speech found in {name}; record {RECOMMENDED:.0f} s of one speaker")
    speech = audio.trim_silence(wave, rate)
    seconds = len(speech) / rate
    if seconds < SHORTEST:
        raise ValueError(f"{name} has {seconds:.2f} s of speech; a voice needs 3-30 s")
    notes = _notes(name, seconds, report)
    speech = speech[: round(LONGEST * rate)]
    measured = {
        "seconds": round(seconds, 2),
        "snr_db": round(report.snr_db, 1),
        "clipping": round(report.clipping, 5),
        "reverberation_seconds": round(report.reverberation_seconds, 2),
        "loudness": round(report.loudness, 1),
    }
    return Reference(wave, speech, rate, measured, notes, clean)


def _notes(name: str, seconds: float, report: audio.RecordingReport) -> list[str]:
    notes = []
    if seconds < RECOMMENDED:
        notes.append(f"{name}: {seconds:.1f} s of speech; {RECOMMENDED:.0f} s or more are better")
    if seconds > LONGEST:
        notes.append(f"{name}: {seconds:.0f} s of speech; only the first {LONGEST:.0f} s are used")
    if report.snr_db < NOISY_DB:
        cost = next((cost for limit, cost in NOISE_COST if report.snr_db < limit), "")
        notes.append(
            f"{name}: {report.snr_db:.0f} dB signal to noise, {NOISY_DB:.0f} dB or more are better"
            + (f"; {cost}" if cost else "")
        )
    if report.clipping > CLIPPED:
        notes.append(f"{name}: {100 * report.clipping:.1f} % of the samples are clipped")
    if report.reverberation_seconds > ECHOING_SECONDS:
        notes.append(f"{name}: reverberant ({report.reverberation_seconds:.1f} s)")
    return notes
