"""Audio as the rest of the library sees it: mono float32 arrays [N] with a sample rate.

`files` reads and writes, `spectra` turns waves into what models eat, `recording` judges what a user
brings.
"""

from .files import FORMATS, AudioWriter, check_wave, read_audio, to_int16, write_audio
from .recording import (
    RecordingReport,
    clipping_ratio,
    inspect,
    loudness,
    reverberation_seconds,
    rms_db,
    snr_db,
    speech_gain,
    speech_score,
    trim_silence,
)
from .spectra import f0, log_mel, mel_filterbank, resample, spectrogram

__all__ = [
    "FORMATS",
    "AudioWriter",
    "RecordingReport",
    "check_wave",
    "clipping_ratio",
    "f0",
    "inspect",
    "log_mel",
    "loudness",
    "mel_filterbank",
    "read_audio",
    "resample",
    "reverberation_seconds",
    "rms_db",
    "snr_db",
    "spectrogram",
    "speech_gain",
    "speech_score",
    "to_int16",
    "trim_silence",
    "write_audio",
]
