"""A noisy recording as a clean one would have been: what a reference is heard through, and few-shot speech on request.

The network of `models/denoiser.py` with the weights that come with voxray (`voxray train denoiser` makes them).
Steady noise, hum, knocks, other voices and a part of a room's tail go; what the noise has covered does not come back.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from . import audio
from .models.denoiser import RATE, Denoiser, spectrum, wave_of

Wave = NDArray[np.float32]
WEIGHTS = "denoiser.safetensors"
HIGHEST = 64  # bins at the top, whose gain is that of what lies above them


@lru_cache(1)
def denoiser() -> Denoiser:
    """The network that comes with voxray."""
    data = (resources.files("voxray") / "builtin" / WEIGHTS).read_bytes()
    network = Denoiser()
    network.load_state_dict({k: v.float() for k, v in safetensors.torch.load(data).items()})
    return network.eval()


@torch.inference_mode()
def cleaned(wave: Wave, rate: int, network: Denoiser | None = None) -> Wave:
    """A wave [N] at any rate without its noise; one that has none hardly changes."""
    heard = audio.resample(wave, rate, RATE)
    gain = audio.speech_gain(heard)
    bins = spectrum(torch.from_numpy(np.ascontiguousarray(heard * gain, np.float32))[None])
    kept = (network or denoiser())(bins.abs())
    made = wave_of(bins * kept, len(heard))[0].numpy() / gain
    back = audio.resample(made, RATE, rate)
    if rate <= RATE:
        return _fitted(back, len(wave))
    above = wave - _fitted(audio.resample(heard, RATE, rate), len(wave))
    return (_fitted(back, len(wave)) + above * float(kept[..., -HIGHEST:].mean())).astype(
        np.float32
    )


def _fitted(wave: Wave, size: int) -> Wave:
    return np.pad(wave, (0, max(0, size - len(wave))))[:size].astype(np.float32)
