"""Draw docs/img/alignment.png from a Synthesis: spectrogram, phoneme alignment and pitch.

    python docs/make_picture.py [VOICE] [TEXT]

Needs matplotlib (`pip install voxray[explain]`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from voxray import audio, tts
from voxray.synthesis import Synthesis

TARGET = Path(__file__).parent / "img" / "alignment.png"
TEXT = "She keeps her old letters in a wooden box."
SEED = 3  # of docs/sample.mp3
HOP = 240  # 10 ms
TOP_HZ = 8_000


def draw(speech: Synthesis, target: Path) -> None:
    """Three views of one utterance over the same time axis."""
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(10, 7), sharex=True, height_ratios=(3, 3, 2), constrained_layout=True
    )
    _spectrogram(top, speech)
    _alignment(middle, speech)
    pitch = audio.f0(speech.audio, speech.sample_rate, HOP / speech.sample_rate)
    seconds = (np.arange(len(pitch)) + 0.5) * HOP / speech.sample_rate
    bottom.plot(seconds, np.where(pitch > 0, pitch, np.nan), color="tab:red")
    bottom.set(ylabel="pitch (Hz)", xlabel="seconds", xlim=(0, speech.seconds))
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def _spectrogram(axes: plt.Axes, speech: Synthesis) -> None:
    power = audio.spectrogram(torch.from_numpy(speech.audio)[None], 1024, HOP)[0]
    level = 20 * power.clamp_min(1e-4).log10().numpy()
    extent = (0.0, speech.seconds, 0.0, speech.sample_rate / 2)
    axes.imshow(level, origin="lower", aspect="auto", extent=extent, cmap="magma",
                vmin=level.max() - 70)  # fmt: skip
    axes.set(ylim=(0, TOP_HZ), ylabel="Hz", title=speech.text)


def _alignment(axes: plt.Axes, speech: Synthesis) -> None:
    axes.step(speech.token_times, speech.alignment, where="post")
    symbols = [item.symbol for item in speech.phonemes.items]
    axes.set_yticks(range(len(symbols)), symbols, fontsize=7)
    axes.set(ylabel="phoneme", ylim=(-0.5, len(symbols) - 0.5))
    for word in speech.words:
        axes.axvline(word.start_s, color="0.85", linewidth=0.8, zorder=0)


if __name__ == "__main__":
    voice = sys.argv[1] if len(sys.argv) > 1 else "nova"
    draw(tts(sys.argv[2] if len(sys.argv) > 2 else TEXT, voice, seed=SEED), TARGET)
