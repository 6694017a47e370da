"""Chunks of marked speech, float32 [N], into bytes of a sound format as they come.

    encoder = encoder_for("mp3", rate)
    for chunk in chunks: send(encoder.feed(chunk))
    send(encoder.finish())

wav carries an open-ended header, as streams do; pcm is 16 bit, little-endian, 24 kHz, as OpenAI's.
FLAC needs its length in front, so its bytes come at the end. aac cannot be made here (libsndfile).
"""

from __future__ import annotations

import struct
from typing import Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..audio import to_int16
from .errors import Problem

Wave = NDArray[np.float32]
TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "opus": "audio/ogg; codecs=opus",
    "ogg": "audio/ogg",
    "pcm": "audio/pcm",
    "raw": "audio/pcm",
}
CODED = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "flac": ("FLAC", "PCM_16"),
    "opus": ("OGG", "OPUS"),
    "ogg": ("OGG", "VORBIS"),
}
RATES = {
    "pcm": (24_000,),
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
}
BLOCK = 1 << 16  # frames; the Vorbis encoder overflows its stack on long buffers
OPEN_END = 0xFFFFFFFF


class Encoder(Protocol):
    """What turns chunks into bytes."""

    def feed(self, chunk: Wave) -> bytes:
        """Bytes that are ready."""
        ...

    def finish(self) -> bytes:
        """The last bytes."""
        ...


def check_format(name: str) -> str:
    """The format's name, or a clear 400."""
    if name == "aac":
        raise Problem(
            "format-unsupported", "aac cannot be made by this service; ask for mp3 or opus"
        )
    if name not in TYPES:
        raise Problem("format-unsupported", f"there is no format {name!r:.40}: {', '.join(TYPES)}")
    return name


def encoder_for(name: str, rate: int) -> Encoder:
    """An encoder; speech of a rate that the format has not is resampled on the way."""
    wanted = RATES.get(name, (rate,))
    target = (
        rate if rate in wanted else min(wanted, key=lambda known: abs(known - max(rate, 24_000)))
    )
    inner = Coded(name, target) if name in CODED else Plain(target, header=name == "wav")
    return inner if target == rate else Resampled(inner, rate, target)


class Plain:
    """16-bit PCM, with a WAV header in front if wanted."""

    def __init__(self, rate: int, *, header: bool) -> None:
        self._header = _wav_header(rate) if header else b""

    def feed(self, chunk: Wave) -> bytes:
        """The samples."""
        header, self._header = self._header, b""
        return header + to_int16(chunk).astype("<i2").tobytes()

    def finish(self) -> bytes:
        """A header, if there was no sound at all."""
        return self.feed(np.zeros(0, np.float32))


class Coded:
    """What libsndfile codes, taken out of its hands as it writes."""

    def __init__(self, name: str, rate: int) -> None:
        container, encoding = CODED[name]
        self._sink = _Sink(in_one_piece=name == "flac", skip_first=name == "mp3")
        self._file = soundfile.SoundFile(
            self._sink, "w", rate, 1, encoding, format=container, closefd=False
        )

    def feed(self, chunk: Wave) -> bytes:
        """What is coded so far."""
        for begin in range(0, len(chunk), BLOCK):
            self._file.write(to_int16(chunk[begin : begin + BLOCK]))
        return self._sink.take()

    def finish(self) -> bytes:
        """The rest."""
        self._file.close()
        return self._sink.take(last=True)


class Resampled:
    """Another rate, then the encoder behind."""

    def __init__(self, inner: Encoder, rate: int, target: int) -> None:
        self._inner = inner
        self._resampler = soxr.ResampleStream(rate, target, 1, dtype="float32")

    def feed(self, chunk: Wave) -> bytes:
        """What is ready."""
        return self._inner.feed(self._resampler.resample_chunk(chunk))

    def finish(self) -> bytes:
        """The rest."""
        rest = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        return self._inner.feed(rest) + self._inner.finish()


class _Sink:
    """A file that only grows: what was sent cannot be written over.

    libsndfile goes back at the end to put lengths into headers. A FLAC file waits for that
    (`in_one_piece`); the first frame of an MP3 holds nothing but lengths and is left out.
    """

    def __init__(self, *, in_one_piece: bool, skip_first: bool) -> None:
        self._data = bytearray()
        self._sent = self._position = 0
        self._whole, self._skip = in_one_piece, skip_first
        self._first = 0

    def write(self, data: bytes) -> int:
        data = bytes(data)
        if self._skip and not self._data:
            self._first = len(data)
        begin, end = self._position - self._sent, self._position - self._sent + len(data)
        if begin >= 0:
            self._data[begin:end] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._sent + len(self._data))[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        return b""

    def take(self, *, last: bool = False) -> bytes:
        """What has not been sent; afterwards it is out of reach."""
        if self._whole and not last:
            return b""
        out = bytes(self._data)
        self._sent += len(self._data)
        self._data.clear()
        if out:
            out, self._first, self._skip = out[self._first :], 0, False
        return out


def _wav_header(rate: int) -> bytes:
    """RIFF with open-ended lengths, one channel of 16 bit."""
    return (
        struct.pack("<4sI4s4sIHHIIHH", b"RIFF", OPEN_END, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
        + struct.pack("<4sI", b"data", OPEN_END)
    )  # fmt: skip
