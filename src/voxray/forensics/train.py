"""Training the detector: people and machines -> weights.

    python benchmarks/forensics_own.py --out FOLDER --each 250
    python -m voxray.forensics.train --speech SHARED/speech --teacher SHARED/teacher/speech \\
        --own FOLDER --out detector.safetensors

The first makes our own model's fakes, once. `material` says what is drawn and how it is mixed. The
network learns every 40 ms step, so it learns where a piece was cut in; what a clip's steps come to
is set afterwards on people whom it never heard (`calibrate`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from .material import Examples, collect, prepare
from .network import BINS, Detector

BATCH = 32
RATE = 3e-3
CROSSED = 0.4  # of a batch
ALARMS = 0.04  # of people kept apart who may be called synthetic
HIDDEN_BANDS, HIDDEN_STEPS = 48, 24  # at most, of an example
Say = Callable[[str], None]


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


def fit(
    examples: Examples,
    *,
    steps: int = 900,
    seed: int = 0,
    say: Say | None = None,
    start: Path | None = None,
) -> Detector:
    """The network for these examples; with `start`, from those weights on."""
    with torch.random.fork_rng():
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        net = Detector().train()
        if start is not None:
            net.load_state_dict(safetensors.torch.load(start.read_bytes()))
        _learn(net, examples, steps, np.random.default_rng(seed), say)
    return net.eval()


def _learn(
    net: Detector, examples: Examples, steps: int, dice: np.random.Generator, say: Say | None
) -> None:
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    sides = [np.flatnonzero(side) for side in _sides(examples)]
    for step in range(steps):
        chosen = np.concatenate([dice.choice(side, BATCH // len(sides)) for side in sides])
        x = torch.from_numpy(examples.x[chosen].astype(np.float32))
        target = torch.from_numpy(examples.fake[chosen].astype(np.float32))  # [B, S]
        x = _mask(_crossed(x, target, dice), dice)
        odds = net(x)[:, : target.shape[1]]
        loss = cross_entropy(odds, target) + 0.5 * _whole(odds, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if say is not None and step % 50 == 49:
            say(f"step {step + 1}: loss {loss.item():.3f}")


def _sides(examples: Examples) -> list[np.ndarray]:
    """Those that are mostly real, and mostly fake; each is drawn as often."""
    mostly = examples.fake.mean(1) > 0.5
    return [~mostly, mostly]


def _whole(odds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The loss of whole clips that are all real or all fake."""
    share = target.mean(1)
    pure = (share == 0) | (share == 1)
    return cross_entropy(odds.mean(1)[pure], share[pure]) if bool(pure.any()) else odds.sum() * 0


def _crossed(x: torch.Tensor, target: torch.Tensor, dice: np.random.Generator) -> torch.Tensor:
    """Some examples end as others do, labels too: more pairs than were prepared."""
    others, ends, aims = dice.permutation(len(x)), x.clone(), target.clone()
    for row, other in enumerate(others):
        if dice.random() < CROSSED:
            step = int(dice.integers(1, target.shape[1]))
            x[row, 4 * step :], target[row, step:] = ends[other, 4 * step :], aims[other, step:]
    return x


def _mask(x: torch.Tensor, dice: np.random.Generator) -> torch.Tensor:
    """Hide a stretch of bands and one of time, so that no narrow one decides alone."""
    for row in x:
        begin = int(dice.integers(0, BINS - HIDDEN_BANDS))
        row[:, begin : begin + int(dice.integers(0, HIDDEN_BANDS))] = 0.0
        begin = int(dice.integers(0, max(1, x.shape[1] - HIDDEN_STEPS)))
        row[begin : begin + int(dice.integers(0, HIDDEN_STEPS))] = 0.0
    return x


def calibrate(net: Detector, kept: Examples) -> Detector:
    """Set `scale * mean + offset` on examples kept apart: so many people at most above 0."""
    means = odds_of(net, kept).mean(1)
    share = kept.fake.mean(1)
    real, fake = means[share == 0], means[share == 1]
    if len(real) < 2 or len(fake) < 2:
        raise ValueError("calibration wants whole examples of both sides")
    level = float(np.quantile(real, 1 - ALARMS))
    spread = max(float(np.concatenate([real - real.mean(), fake - fake.mean()]).std()), 1e-3)
    scale = abs(float(fake.mean() - real.mean())) / spread**2  # log odds of two like Gaussians
    net.line.copy_(torch.tensor([scale, -scale * level]))
    return net


def odds_of(net: Detector, examples: Examples) -> np.ndarray:
    """The log odds of all steps [N, S]."""
    with torch.inference_mode():
        found = [net(torch.from_numpy(part.astype(np.float32)))
                 for part in np.array_split(examples.x, -(-len(examples.x) // BATCH))]  # fmt: skip
    return torch.cat(found).numpy()


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
    for name in ("speech", "teacher", "own", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1500, help="examples")
    parser.add_argument("--kept", type=int, default=150, help="examples of people kept apart")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    asked = parser.parse_args()
    places = (asked.speech, asked.teacher, asked.own)
    examples = prepare(collect(*places), asked.count, asked.seed)
    kept = prepare(collect(*places, "dev"), asked.kept, asked.seed + 1, 0.4)

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    net = fit(examples, steps=asked.steps, seed=asked.seed, say=say, start=asked.start)
    save(calibrate(net, kept), asked.out)


if __name__ == "__main__":
    main()
