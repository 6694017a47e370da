"""The same road for real and fake: band, rate, level and codec, drawn from one distribution.

A detector that is trained without this learns which corpus was stored as what. `through` sends a
wave [N] through a lossy codec and back, aligned and of the same length; `roughen` draws a road
(codec, band, noise) from a seed. Only soundfile's own codecs are used.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from .. import audio

Wave = NDArray[np.float32]
RATE = 16_000
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
OPUS_BITS = (6_000, 256_000)  # libsndfile's range, a channel
MP3_BITS = {True: (32_000, 320_000), False: (8_000, 160_000)}  # from 32 kHz on; below
CODECS = ("opus 16000", "opus 24000", "mp3 48000", "mp3 64000")
BAND = (3400.0, 7000.0)  # Hz: where a road's low-pass lies
LEVEL = 0.05  # root mean square


def through(wave: Wave, rate: int, codec: str, bits: int) -> Wave:
    """A wave after `opus` or `mp3` at so many bits a second."""
    if codec == "opus":
        inner = next((r for r in OPUS_RATES if r >= rate), 48_000)
        low, high = OPUS_BITS
        kind = {"format": "OGG", "subtype": "OPUS"}
    elif codec == "mp3":
        inner = rate
        low, high = MP3_BITS[rate >= 32_000]
        kind = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    else:
        raise ValueError(f"a codec is opus or mp3, not {codec!r}")
    if not low <= bits <= high:
        raise ValueError(f"{codec} takes {low} to {high} bits a second, not {bits}")
    store = BytesIO()
    sent = np.clip(audio.resample(wave, rate, inner), -1.0, 1.0)
    soundfile.write(store, sent, inner, compression_level=1 - (bits - low) / (high - low), **kind)
    store.seek(0)
    heard, heard_rate = soundfile.read(store, dtype="float32")
    heard = audio.resample(heard, heard_rate, rate)
    return _aligned(heard, wave)


def levelled(wave: Wave, rate: int) -> Wave:
    """At 16 kHz and a fixed level."""
    wave = audio.resample(np.asarray(wave, np.float32), rate, RATE)
    return wave * (LEVEL / max(float(np.sqrt((wave**2).mean())), 1e-6))


def low_passed(wave: Wave, rate: int, hertz: float) -> Wave:
    """Nothing above `hertz`, by a smooth edge of 300 Hz."""
    spectrum = np.fft.rfft(wave)
    frequencies = np.fft.rfftfreq(len(wave), 1 / rate)
    edge = np.clip((hertz + 150 - frequencies) / 300, 0, 1)
    return np.fft.irfft(spectrum * edge, len(wave)).astype(np.float32)


def roughen(wave: Wave, rate: int, generator: np.random.Generator, *, coded: float = 1.0) -> Wave:
    """A wave at 16 kHz after a road that is drawn: low-pass, noise, one codec (so often)."""
    wave = levelled(wave, rate)
    if generator.random() < 0.5:
        wave = low_passed(wave, RATE, generator.uniform(*BAND))
    noise = LEVEL * 10 ** (-generator.uniform(25, 50) / 20)
    wave = wave + np.float32(noise) * generator.standard_normal(len(wave)).astype(np.float32)
    if coded < 1.0 and generator.random() >= coded:
        return wave
    codec, bits = str(generator.choice(CODECS)).split()
    return through(wave, RATE, codec, int(bits))


def _aligned(heard: Wave, sent: Wave) -> Wave:
    """`heard` moved to where `sent` lies, and cut or filled to its length."""
    size = 1 << int(np.ceil(np.log2(len(heard) + len(sent))))
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size))
    delay = int(np.argmax(np.fft.irfft(product, size)))
    delay -= size if delay > size // 2 else 0
    moved = heard[delay:] if delay >= 0 else np.pad(heard, (-delay, 0))
    return np.pad(moved, (0, max(0, len(sent) - len(moved))))[: len(sent)]
