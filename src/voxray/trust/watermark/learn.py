"""Training the reader: a list of sound files of speech -> `reader.safetensors`.

    python -m voxray.trust.watermark.learn --files speech.txt --out reader.safetensors

Every clip is marked with a random pattern of its own, sent through one attack, and cut; the network
learns which cells were turned up (binary cross-entropy a cell). No key takes part. The weights that
ship were made from 720 clips of people and of the teacher, 240 steps of 16, with other builds of
the same codecs, at a strength of 2.0 dB; then 200 steps more from there (`--start`), on 450 clips of
the speakers for training, with the attacks below (more noise), at 2.3 dB, in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from ... import audio
from ...forensics.matching import through
from .embed import embed
from .grid import BANDS, FRAME_SECONDS, SLOT_FRAMES, STRENGTH_DB
from .reader import HOP, RATE, Reader, log_magnitudes

Wave = NDArray[np.float32]
Attack = Callable[[Wave, int, np.random.Generator], Wave]
FRAMES = 256  # of 8 ms: one example
CLIP_SECONDS = 2.4
SLOTS = 120  # of a random pattern
BATCH = 16


def _noisy(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    level = float(np.sqrt((wave**2).mean())) * 10 ** (-dice.uniform(16, 26) / 20)
    return wave + level * dice.standard_normal(len(wave)).astype(np.float32)


def _narrow(wave: Wave, rate: int, dice: np.random.Generator) -> Wave:
    return audio.resample(audio.resample(wave, rate, 11_025), 11_025, rate)[: len(wave)]


ATTACKS: tuple[tuple[float, Attack], ...] = (  # (share, what is done)
    (0.08, lambda wave, rate, dice: wave),
    (0.10, lambda wave, rate, dice: through(wave, rate, "mp3", int(dice.choice([48_000, 64_000])))),
    (0.22, lambda wave, rate, dice: through(wave, rate, "opus", int(dice.choice([16_000, 24_000])))),
    (0.36, _noisy),
    (0.18, lambda wave, rate, dice: through(through(wave, rate, "mp3", 64_000), rate, "opus", 24_000)),
    (0.06, _narrow),
)  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Log magnitudes [N, FRAMES, BINS] and what was done to each cell, +1 or -1: [N, T // 2, BANDS]."""

    x: NDArray[np.float16]
    signs: NDArray[np.int8]


def prepare(files: Sequence[Path], seed: int, strength_db: float = STRENGTH_DB) -> Examples:
    """Two examples of each file, by two attacks; clips that are too short are passed over."""
    dice = np.random.default_rng(seed)
    shares = np.array([share for share, _ in ATTACKS])
    rows, targets = [], []
    for path in files:
        wave, rate = audio.read_audio(path)
        size = round(CLIP_SECONDS * rate)
        begin = int(dice.integers(0, max(1, len(wave) - size)))
        wave = wave[begin : begin + size]
        wave = (0.7 * wave / max(float(np.abs(wave).max()), 1e-6)).astype(np.float32)
        signs = dice.choice(np.array([-1, 1], np.int8), size=(SLOTS, BANDS))
        marked = embed(wave, rate, signs, strength_db)
        for index in dice.choice(len(ATTACKS), size=2, replace=False, p=shares):
            attacked = audio.resample(ATTACKS[index][1](marked, rate, dice), rate, RATE)
            seen = log_magnitudes(attacked)
            if len(seen) >= FRAMES:
                first = int(dice.integers(0, len(seen) - FRAMES + 1))
                rows.append(seen[first : first + FRAMES].astype(np.float16))
                targets.append(_signs_at(signs, first))
    if not rows:
        raise ValueError(f"no file is as long as {FRAMES * HOP / RATE:.2f} s")
    return Examples(np.stack(rows), np.stack(targets))


def _signs_at(signs: NDArray[np.int8], first: int) -> NDArray[np.int8]:
    """What was done in the middle of each pair of frames of 8 ms from `first` on."""
    seconds = (first + 2 * np.arange(FRAMES // 2) + 0.5) * HOP / RATE
    frames = np.clip(np.round(seconds / FRAME_SECONDS).astype(int), 0, None)
    return signs[frames // SLOT_FRAMES % len(signs)]


def fit(examples: Examples, steps: int, seed: int = 0, start: Path | None = None) -> Reader:
    """The network for these examples; from `start`'s weights on, if given, at half the rate."""
    with torch.random.fork_rng():
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        net = Reader()
    if start is not None:
        net.load_state_dict(safetensors.torch.load(start.read_bytes()))
    highest = 4e-3 if start is None else 2e-3
    optimiser = torch.optim.AdamW(net.parameters(), highest, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, highest, total_steps=steps, pct_start=0.1
    )
    dice = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = dice.integers(0, len(examples.x), BATCH)
        x = torch.from_numpy(examples.x[chosen].astype(np.float32))
        up = torch.from_numpy((examples.signs[chosen] > 0).astype(np.float32))
        odds = net(x)  # [B, T // 2, BANDS]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds[:, 2:-2], up[:, 2:-2])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return net.eval()


def main() -> None:
    """The command."""
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, required=True, help="one path a line")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    chosen = parser.parse_args()
    files = [Path(line) for line in chosen.files.read_text("utf-8").splitlines() if line]
    net = fit(prepare(files, chosen.seed), chosen.steps, chosen.seed, chosen.start)
    part = chosen.out.with_name(f".{chosen.out.name}.part")
    part.write_bytes(safetensors.torch.save(net.state_dict()))
    part.replace(chosen.out)


if __name__ == "__main__":
    main()
