"""Training the detector: two lists of sound files, real and fake -> weights.

    python -m voxray.forensics.train --real real.txt --fake fake.txt --out detector.safetensors

Both lists go the same roads (`matching.roughen`), are cut to the same length, and are drawn equally
often, by source: a source is the folder that a file lies in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from .. import audio
from .matching import RATE, roughen
from .network import Detector, features

SECONDS = 2.0
FRAMES = int(100 * SECONDS) - 2
Say = Callable[[str], None]


@dataclass(frozen=True)
class Examples:
    """Features [N, T, 64] and whether each is fake [N]."""

    x: NDArray[np.float16]
    fake: NDArray[np.bool_]


def prepare(real: Sequence[Path], fake: Sequence[Path], seed: int, roads: int = 1) -> Examples:
    """Two seconds of each file, `roads` times over different roads."""
    generator = np.random.default_rng(seed)
    rows, labels = [], []
    for label, paths in ((False, real), (True, fake)):
        for path in paths:
            wave, rate = audio.read_audio(path)
            for _ in range(roads):
                rows.append(_example(wave, rate, generator))
                labels.append(label)
    return Examples(np.stack(rows).astype(np.float16), np.array(labels))


def _example(wave: np.ndarray, rate: int, generator: np.random.Generator) -> np.ndarray:
    wanted = round(SECONDS * rate)
    begin = int(generator.integers(0, max(1, len(wave) - wanted)))
    cut = wave[begin : begin + wanted]
    cut = np.tile(cut, -(-wanted // len(cut)))[:wanted]
    return features(roughen(cut, rate, generator), RATE)[:FRAMES]


def balanced(paths: Sequence[Path], count: int, seed: int) -> list[Path]:
    """`count` files, as evenly from their folders as can be."""
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        groups[path.parent].append(path)
    generator = np.random.default_rng(seed)
    for group in groups.values():
        generator.shuffle(group)  # type: ignore[arg-type]
    order: list[Path] = []
    while len(order) < min(count, len(paths)):
        order += [group.pop() for group in groups.values() if group]
    return order[:count]


def fit(examples: Examples, *, steps: int = 300, seed: int = 0, say: Say | None = None) -> Detector:
    """The network for these examples."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.random.set_rng_state(generator.get_state())
        net = Detector()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    sides = [np.flatnonzero(examples.fake == side) for side in (False, True)]
    for step in range(steps):
        chosen = np.concatenate([rng.choice(side, 16) for side in sides])
        x = torch.from_numpy(examples.x[chosen].astype(np.float32))
        x = _mask(x, rng)
        target = torch.from_numpy(examples.fake[chosen].astype(np.float32))
        odds = net(x)  # [B, T // 4]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds.mean(1), target)
        loss = loss + 0.3 * torch.nn.functional.binary_cross_entropy_with_logits(
            odds, target[:, None].expand_as(odds)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if say is not None and step % 50 == 49:
            say(f"step {step + 1}: loss {loss.item():.3f}")
    return net.eval()


def _mask(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Hide a stretch of bands, so that no narrow one decides alone."""
    begin = int(rng.integers(0, x.shape[2] - 16))
    x[:, :, begin : begin + int(rng.integers(0, 16))] = 0.0
    return x


def equal_error_rate(real: np.ndarray, fake: np.ndarray) -> float:
    """Where as many real ones are called fake as fake ones real."""
    limits = np.sort(np.concatenate([real, fake]))
    alarms = np.array([(real > limit).mean() for limit in limits])
    misses = np.array([(fake <= limit).mean() for limit in limits])
    best = int(np.argmin(np.abs(alarms - misses)))
    return float((alarms[best] + misses[best]) / 2)


def save(net: Detector, path: Path) -> None:
    """Write the weights, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(safetensors.torch.save(net.state_dict()))
    part.replace(path)


def main() -> None:
    """The command."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("real", "fake", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300, help="files of each side")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    lists = [
        balanced([Path(line) for line in path.read_text("utf-8").splitlines() if line],
                 chosen.count, chosen.seed)
        for path in (chosen.real, chosen.fake)
    ]  # fmt: skip
    examples = prepare(*lists, chosen.seed)
    save(fit(examples, steps=chosen.steps, seed=chosen.seed,
             say=lambda line: sys.stderr.write(line + "\n") and None), chosen.out)  # fmt: skip


if __name__ == "__main__":
    main()
