"""A second mark that anyone can detect: Perth (Resemble AI, MIT). Off unless the policy asks for it.

It says "synthetic" and no more: no key, no record; whoever has the package can find it, and whoever
wants can put it in. Needs the extra `public-mark`. Its network works at 32 kHz on whole sounds, so
with it a stream is handed out only once it is whole.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Refused

Wave = NDArray[np.float32]
LIKELY = 0.5  # of a likeness between 0 and 1; Perth rounds there
LACKING = "the policy asks for the public mark: pip install 'voxray[public-mark]'"
SHORTEST = 2_048 / 32_000  # seconds: a window of its analysis


def installed() -> bool:
    """Whether the mark can be put in and read here."""
    return find_spec("perth") is not None


def check() -> None:
    """Refuse, before anything is said, where the mark is asked for and cannot be made."""
    if not installed():
        raise Refused("mark-unavailable", LACKING)
    try:
        _perth()
    except (ImportError, OSError, RuntimeError, TypeError) as error:
        said = " ".join(str(error).split())
        raise Refused("mark-unavailable", f"the public mark cannot be made: {said}") from error


def mark(wave: Wave, rate: int) -> Wave:
    """A wave [N] -> the same with Perth's mark [N]; what is too short for it stays as it is."""
    if len(wave) < SHORTEST * rate:
        return wave
    marked = np.asarray(_perth().apply_watermark(wave, sample_rate=rate), np.float32)
    return np.pad(marked[: len(wave)], (0, max(0, len(wave) - len(marked))))


def likeness(wave: Wave, rate: int) -> float:
    """How much a wave [N] looks marked by Perth, 0 to 1; no bound on chance comes with it."""
    if len(wave) < SHORTEST * rate:
        return 0.0
    found = _perth().get_watermark(wave, sample_rate=rate, round=False)
    return float(np.clip(np.mean(np.nan_to_num(found)), 0.0, 1.0))


@lru_cache(1)
def _perth() -> Any:
    """The package's network, loaded once."""
    perth = import_module("perth")
    if perth.PerthImplicitWatermarker is None:  # it hides why
        raise ImportError(
            "perth is there without its network (it needs librosa, setuptools < 81, and a torchaudio "
            "that fits your torch, which voxray does not install)"
        )
    return perth.PerthImplicitWatermarker()
