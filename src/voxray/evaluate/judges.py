"""The judges: who listens. All take waves [N] at 16 kHz, full scale 1, and never saw our training.

`Recogniser` (Whisper base, int8) -> text; `SpeakerJudge` (WeSpeaker ResNet34, ERes2Net) ->
embeddings; `Naturalness` (DNSMOS P.835) -> overall score 1-5. Weights come from `fetch`; packages
from the extra `eval`. Each judge loads when first asked. Resemblyzer is not among them: it teaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxray.audio.kaldi import fbank

from .fetch import DEFAULT_FOLDER
from .missing import JudgeMissing

Wave = NDArray[np.float32]
RATE = 16_000
LONGEST_WINDOW = 30.0  # seconds, what Whisper was trained on
SHORTEST_WINDOW = 10.0  # below this it begins to repeat itself
LONGEST_VOICE = 20.0  # seconds of a clip that a speaker judge hears
DNSMOS_SAMPLES, DNSMOS_WINDOWS = 144_160, 6
DNSMOS_OVERALL = (-0.06766283, 1.11546468, 0.04602535)  # the published fit to people's scores


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise JudgeMissing.package((error.name or name).replace("_", "-")) from error


def _weights(path: Path) -> Path:
    if not path.exists():
        raise JudgeMissing.weights(path)
    return path


class SpeakerJudge(Protocol):
    """Tells voices apart."""

    name: str

    def __call__(self, wave: Wave) -> NDArray[np.float32]:
        """A wave [N] -> an embedding [D] of length 1."""
        ...


class Recogniser:
    """Whisper, greedy. Short clips get a short window (10 s or more): a third of the work.

    `model` is the name of another published size where a hub can be reached (`large-v3`).
    """

    def __init__(
        self,
        folder: Path = DEFAULT_FOLDER,
        *,
        model: str | None = None,
        threads: int = 1,
        batch: int = 8,
    ) -> None:
        whisper = _package("faster_whisper")
        source = model or str(_weights(folder / "whisper-base"))
        self._model = whisper.WhisperModel(
            source, device="cpu", compute_type="int8", cpu_threads=threads
        )
        self._tensor = _package("ctranslate2").StorageView.from_array
        self.name = f"whisper {model or 'base'} int8"
        self.batch = batch

    def __call__(self, waves: Sequence[Wave], language: str) -> list[str]:
        """Waves -> what was said, in the recogniser's own spelling."""
        parts = [(number, part) for number, wave in enumerate(waves) for part in _breaths(wave)]
        order = sorted(range(len(parts)), key=lambda i: len(parts[i][1]))
        texts = [""] * len(parts)
        for begin in range(0, len(order), self.batch):
            chosen = order[begin : begin + self.batch]
            for i, text in zip(
                chosen, self._hear([parts[i][1] for i in chosen], language), strict=True
            ):
                texts[i] = text
        said = [""] * len(waves)
        for (number, _), text in zip(parts, texts, strict=True):
            said[number] = f"{said[number]} {text}".strip()
        return said

    def _hear(self, waves: list[Wave], language: str) -> list[str]:
        longest = max(len(wave) for wave in waves) / RATE
        window = min(LONGEST_WINDOW, max(SHORTEST_WINDOW, 5 * np.ceil((longest + 1.0) / 5)))
        features = np.stack(
            [self._features(wave, round(100 * window)) for wave in waves]
        )  # [B, mels, T]
        tokens = self._model.hf_tokenizer
        marks = ("startoftranscript", language, "transcribe", "notimestamps")
        prompt = [tokens.token_to_id(f"<|{mark}|>") for mark in marks]
        made = self._model.model.generate(
            self._tensor(np.ascontiguousarray(features)),
            [prompt] * len(waves),
            beam_size=1,
            max_length=min(448, 16 + round(20 * longest)),
        )
        return [tokens.decode(result.sequences_ids[0]).strip() for result in made]

    def _features(self, wave: Wave, frames: int) -> NDArray[np.float32]:  # [mels, frames]
        heard = self._model.feature_extractor(np.pad(wave, (0, 1600)), padding=0)[:, :frames]
        full = np.full((len(heard), frames), heard.min(), np.float32)  # silence lies on the floor
        full[:, : heard.shape[1]] = heard
        return full


def _breaths(wave: Wave, longest: float = 26.0) -> Iterator[Wave]:
    """Cut a wave that is longer than the window where it is most quiet."""
    limit, hop = round(longest * RATE), RATE // 20
    while len(wave) > limit:
        level = np.square(wave[limit // 2 : limit].reshape(-1, hop)).mean(1)
        smooth = np.convolve(level, np.ones(5), "same")
        cut = limit // 2 + int(smooth[2:-2].argmin() + 2) * hop + hop // 2
        yield wave[:cut]
        wave = wave[cut:]
    yield wave


def _session(path: Path, threads: int) -> Any:
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return runtime.InferenceSession(
        str(_weights(path)), options, providers=["CPUExecutionProvider"]
    )


class WeSpeaker:
    """ResNet34 trained on VoxCeleb by WeSpeaker (CC-BY-4.0)."""

    name = "wespeaker"

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        self._session = _session(folder / "wespeaker-resnet34.onnx", threads)

    def __call__(self, wave: Wave) -> NDArray[np.float32]:
        """A wave [N] -> an embedding [256] of length 1."""
        features = fbank(wave[: round(LONGEST_VOICE * RATE)], "hamming", 32768.0)[None]
        return _unit(self._session.run(None, {"feats": features})[0][0])


class ERes2NetJudge:
    """ERes2Net trained on VoxCeleb by 3D-Speaker (Apache-2.0)."""

    name = "eres2net"

    def __init__(self, folder: Path = DEFAULT_FOLDER) -> None:
        import safetensors.torch
        import torch

        from voxray.convert.rename import renamed
        from voxray.convert.rules_speaker import BLOCKS

        from .eres2net import ERes2Net

        self._torch = torch
        self._model = ERes2Net().eval()
        state = safetensors.torch.load_file(_weights(folder / "eres2net.safetensors"))
        found = self._model.load_state_dict(renamed(state, BLOCKS), strict=False)
        missing = [name for name in found.missing_keys if "num_batches" not in name]
        if missing or found.unexpected_keys:
            raise OSError(f"{folder / 'eres2net.safetensors'} is not the judge's checkpoint")

    def __call__(self, wave: Wave) -> NDArray[np.float32]:
        """A wave [N] -> an embedding [192] of length 1."""
        features = self._torch.from_numpy(fbank(wave[: round(LONGEST_VOICE * RATE)]))[None]
        with self._torch.inference_mode():
            return _unit(self._model(features)[0].numpy())


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / max(1e-9, float(np.linalg.norm(vector)))


class Naturalness:
    """DNSMOS P.835: the overall score people would give, 1-5; compare with real speech's."""

    name = "dnsmos"

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        self._session = _session(folder / "dnsmos.onnx", threads)

    def __call__(self, wave: Wave) -> float:
        """A wave [N] -> the mean over windows of 9 s, one second apart, 6 at most."""
        wave = np.clip(wave, -1.0, 1.0)
        while len(wave) < DNSMOS_SAMPLES:
            wave = (
                np.concatenate([wave, wave]) if len(wave) else np.zeros(DNSMOS_SAMPLES, np.float32)
            )
        starts = np.arange(0, len(wave) - DNSMOS_SAMPLES + 1, RATE)
        if len(starts) > DNSMOS_WINDOWS:
            starts = starts[np.linspace(0, len(starts) - 1, DNSMOS_WINDOWS).round().astype(int)]
        windows = np.stack([wave[start : start + DNSMOS_SAMPLES] for start in starts])
        raw = self._session.run(None, {"input_1": windows.astype(np.float32)})[0][:, 2]
        return float(np.polyval(DNSMOS_OVERALL, raw).mean())


class Judges:
    """All judges, each loaded when it is first asked."""

    def __init__(
        self, folder: Path = DEFAULT_FOLDER, *, threads: int = 1, recogniser: str | None = None
    ) -> None:
        self.folder = folder
        self.threads = threads
        self._recogniser_name = recogniser

    @cached_property
    def recogniser(self) -> Recogniser:
        """What was said."""
        return Recogniser(self.folder, model=self._recogniser_name, threads=self.threads)

    @cached_property
    def speakers(self) -> tuple[SpeakerJudge, ...]:
        """Who said it: two judges of different make."""
        return WeSpeaker(self.folder, self.threads), ERes2NetJudge(self.folder)

    @cached_property
    def naturalness(self) -> Naturalness:
        """How it sounds."""
        return Naturalness(self.folder, self.threads)
