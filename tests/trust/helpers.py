"""What the trust tests share: the tiny model speaking, records of one's own, a counterfeit clock."""

from __future__ import annotations

import numpy as np

from voxray.bundle import Bundle
from voxray.engine import tts
from voxray.synthesis import Synthesis
from voxray.voice import Voice


def say(tiny: Bundle, voice: Voice, text: str = "Hello.", seed: int = 1) -> Synthesis:
    return tts(text, voice, model=tiny, seed=seed)


def speech(seconds: float = 12.0, rate: int = 24_000, seed: int = 0) -> np.ndarray:
    """Noise shaped like speech: syllables, formants that move, pauses."""
    generator = np.random.default_rng(seed)
    count = round(seconds * rate)
    time = np.arange(count) / rate
    pitch = 2 * np.pi * np.cumsum(130 + 25 * np.sin(2 * np.pi * 0.6 * time)) / rate
    wave = sum(np.sin(k * pitch + generator.uniform(0, 6)) / k**0.7 for k in range(1, 40))
    wave = wave * (0.6 + 0.4 * np.sin(2 * np.pi * 3.1 * time + 1)) * 0.05
    hiss = generator.standard_normal(count) * 0.02 * (np.sin(2 * np.pi * 1.7 * time) > 0.3)
    return (wave + hiss + generator.standard_normal(count) * 2e-4).astype(np.float32)
