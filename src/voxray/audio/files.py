"""Audio files: in, mono float32 [N] and a rate, or one clear line; out, wav, flac, mp3, ogg, whole
or not at all.

A file being written lies beside its target under another name and is renamed when it is complete,
so that nobody ever meets half a file; a full disk or a forbidden folder is an OSError that says
what to do.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import BinaryIO, cast

import numpy as np
import soundfile

FORMATS: dict[str, tuple[str, str]] = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
}
RATES = range(4_000, 384_001)
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
SHORTEST_SECONDS = 0.01
BLOCK = (
    1 << 16
)  # frames handed to the encoder at once: the Vorbis one overflows its stack on long buffers
NOT_AUDIO = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP",
}


def read_audio(path: str | Path, limit_seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Mono float32 [N] and its rate; only the first `limit_seconds` if given.

    Whatever would poison what follows is refused here, with a line that says what to do: folders,
    pictures, files cut short, NaN, no or hardly any samples, integers passed off as floats.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give one audio file (wav, flac, mp3, ogg)")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    _check_container(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, promised = file.samplerate, file.frames
            wanted = -1 if limit_seconds is None else max(1, round(limit_seconds * rate))
            samples = file.read(wanted, dtype="float32", always_2d=True)  # [N, channels]
    except soundfile.SoundFileError as error:
        raise ValueError(
            f"{path} cannot be read as audio: it is damaged or of an unknown format; "
            "convert it to wav or flac"
        ) from error
    if limit_seconds is None and path.suffix.lower() == ".flac" and len(samples) < promised:
        raise ValueError(
            f"{path} is cut short ({len(samples)} of {promised} samples); copy it again"
        )
    if rate not in RATES:
        raise ValueError(
            f"{path} has a sample rate of {rate} Hz; need {RATES[0]} to {RATES[-1]} Hz"
        )
    return check_wave(_to_mono(samples), rate, str(path)), rate


def check_wave(wave: np.ndarray, rate: int, name: str = "the audio") -> np.ndarray:
    """The same wave as contiguous float32 [N], or a ValueError saying why it cannot be used."""
    wave = np.asarray(wave)
    if wave.ndim != 1:
        raise ValueError(f"{name} has shape {wave.shape}; need one channel, [samples]")
    if not np.issubdtype(wave.dtype, np.floating):
        raise ValueError(f"{name} holds {wave.dtype}; need floats, full scale 1.0")
    if len(wave) == 0:
        raise ValueError(f"{name} is empty: it holds no samples")
    if len(wave) < SHORTEST_SECONDS * rate:
        count = f"{len(wave)} sample" + "s" * (len(wave) > 1)
        raise ValueError(
            f"{name} holds {count} ({len(wave) / rate:.4f} s); need {SHORTEST_SECONDS} s or more"
        )
    bad = ~np.isfinite(wave)
    if bad.any():
        raise ValueError(
            f"{name} holds {int(bad.sum())} NaN or infinite samples, the first at "
            f"{bad.argmax() / rate:.3f} s; export it again from its source"
        )
    peak = float(np.abs(wave).max())
    if peak > 8.0:
        raise ValueError(
            f"{name} reaches {peak:.0f} where full scale is 1.0; divide it (by 32768 for 16 bit)"
        )
    return np.ascontiguousarray(wave, dtype=np.float32)


def _check_container(path: Path) -> None:
    """Refuses what is certainly not audio, and a WAV that promises more than it holds."""
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path} is empty (0 bytes); record or copy it again")
    with open(path, "rb") as file:
        head = file.read(12)
        for magic, kind in NOT_AUDIO.items():
            if head.startswith(magic):
                raise ValueError(f"{path} is {kind}, not audio; give a wav, flac, mp3 or ogg file")
        if head[4:8] == b"ftyp":
            raise ValueError(
                f"{path} is an MP4/M4A file, which is not read here; convert it to wav or flac"
            )
        if not (head.startswith(b"RIFF") and head[8:] == b"WAVE"):
            return
        position = 12
        while position + 8 <= size:
            file.seek(position)
            chunk = file.read(8)
            length = int.from_bytes(chunk[4:8], "little")
            if chunk[:4] == b"data":
                # Who writes into a pipe cannot know the length and puts a huge one: a whole file.
                if position + 8 + length > size and length < 0x7FFF0000:
                    held = size - position - 8
                    raise ValueError(
                        f"{path} is cut short ({held} of {length} bytes of sound); "
                        "copy or export it again"
                    )
                return
            position += 8 + length + length % 2
    raise ValueError(f"{path} is cut short: a WAV file without sound; copy or export it again")


def _to_mono(samples: np.ndarray) -> np.ndarray:  # [N, channels] -> [N]
    """The channels' mean; the loudest channel where the mean would cancel (one leg of the cable
    swapped).
    """
    mono = samples.mean(axis=1)
    if samples.shape[1] == 1 or len(samples) == 0:
        return mono
    power = np.square(samples, dtype=np.float64).mean(axis=0)
    cancels = np.square(mono, dtype=np.float64).mean() < 0.1 * power.max() / samples.shape[1]
    return samples[:, int(power.argmax())] if cancels else mono


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Rounded and limited to full scale: a sample over 1.0 saturates and never wraps round.

    One step is 1 / 32768, as readers take it: what was read is written back bit by bit.
    """
    return np.clip(np.round(np.asarray(wave) * 32768.0), -32768, 32767).astype(np.int16)


class _Sink:
    """The byte sink given to the encoder. It keeps the OSError that the encoder's C code would
    swallow.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data) if self.error is None else 0
        except OSError as error:
            self.error = error
            return 0

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits for the end of a piece: what is raised inside the encoder's callback is lost, and the piece, too."""
    kept = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(kept):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, kept)
        if came:
            kept(*came[-1])


class AudioWriter:
    """Writes audio piece by piece beside the target and renames it into place when it is whole.

    Use as a context manager. Leaving it normally or by Ctrl-C keeps what was written, as a valid
    file; any other exception leaves the target as it was. Nothing half-written is ever seen under
    the target's name.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        self.path, self.rate = Path(path), int(rate)
        container, encoding = _format_for(self.path, self.rate)
        self.samples = 0
        self.target = self.path.resolve()
        self.part = self.target.with_name(f".{self.target.stem}.{secrets.token_hex(4)}.part")
        try:
            self.file: BinaryIO = self.part.open("xb+")
        except OSError as error:
            raise _write_error(self.path, error) from error
        self.sink = _Sink(self.file)
        try:
            self.encoder = soundfile.SoundFile(
                cast(BinaryIO, self.sink),
                "w",
                self.rate,
                1,
                encoding,
                format=container,
                closefd=False,
            )
        except soundfile.SoundFileError as error:
            self._drop()
            if self.sink.error is not None:
                raise _write_error(self.path, self.sink.error) from error
            raise ValueError(f"cannot write {container} at {self.rate} Hz; choose .wav") from error

    def write(self, wave: np.ndarray) -> None:
        """Appends float samples [N], limited to full scale."""
        wave = np.asarray(wave)
        if wave.ndim != 1 or not np.isfinite(wave).all():
            raise ValueError(f"audio to write must be finite and [samples]; got shape {wave.shape}")
        for start in range(0, len(wave), BLOCK):
            self._encode(to_int16(wave[start : start + BLOCK]))
        self.samples += len(wave)

    def _encode(self, block: np.ndarray) -> None:
        try:
            with _undisturbed():
                self.encoder.write(block)
        except (soundfile.SoundFileError, AssertionError) as error:  # AssertionError: a short write
            raise _write_error(self.path, self.sink.error or OSError(str(error))) from error
        if self.sink.error is not None:
            raise _write_error(self.path, self.sink.error)

    def close(self) -> None:
        """Finishes the file and puts it under its name; without samples it writes nothing."""
        if self.samples == 0:
            self.discard()
            raise ValueError(f"no audio to write to {self.path}")
        try:
            self._finish()
            if self.sink.error is not None:
                raise self.sink.error
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.part.replace(self.target)
        except OSError as error:
            self._drop()
            raise _write_error(self.path, error) from error

    def discard(self) -> None:
        """Forgets what was written; the target stays as it was."""
        self._finish()
        self._drop()

    def _finish(self) -> None:
        # The cause of an error, if any, is in the sink.
        with suppress(soundfile.SoundFileError), _undisturbed():
            self.encoder.close()

    def _drop(self) -> None:
        with suppress(OSError):  # what is still in the buffer does not fit on the disk either
            self.file.close()
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or (issubclass(kind, KeyboardInterrupt) and self.samples > 0):
            self.close()
        else:
            self.discard()


def write_audio(path: str | Path, wave: np.ndarray, rate: int) -> None:
    """Writes wav, flac, mp3 or ogg by suffix, whole or not at all. Synthetic audio: only `engine`
    may call it.
    """
    with AudioWriter(path, rate) as writer:
        writer.write(wave)


def _format_for(path: Path, rate: int) -> tuple[str, str]:
    suffix = path.suffix.lower()
    if path.is_dir():
        raise OSError(f"{path} is a folder; give a file name ending in {', '.join(FORMATS)}")
    if suffix not in FORMATS:
        raise ValueError(
            f"cannot tell the format of {path}; its name must end in {', '.join(FORMATS)}"
        )
    if rate not in RATES:
        raise ValueError(f"cannot write audio at {rate} Hz; need {RATES[0]} to {RATES[-1]} Hz")
    if suffix == ".mp3" and rate not in MP3_RATES:
        raise ValueError(f"mp3 has no {rate} Hz; resample to 24000 Hz or write .wav")
    return FORMATS[suffix]


def _write_error(path: Path, error: OSError) -> OSError:
    folder = path.parent
    if isinstance(error, FileNotFoundError):
        return OSError(f"cannot write {path}: the folder {folder} does not exist; create it first")
    reason = error.strerror or str(error)
    advice = f"free some space, or see that {folder} may be written to, or choose another place"
    return OSError(f"cannot write {path}: {reason}; {advice}")
