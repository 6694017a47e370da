"""What few-shot tuning is told, and one module on its way: shared by the kinds of models that are tuned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from voxray.config import Config

Check = Callable[[], dict[str, float]]  # what decides, under "score" (higher is better), and more


class Tuning(Config):
    """Settings of a few-shot run."""

    rank: int = 0  # of the adapters; 0: all weights
    still: tuple[str, ...] = ()  # parts that stay as they are, as `decoder.direct` (of full tuning)
    generator_steps: int = 240
    gpt_steps: int = 240
    generator_rate: float = 2e-4  # of our own kind; published models keep their recipe's
    gpt_rate: float = 1e-4
    adapter_rate: float = 1e-3  # adapters start at zero and move faster
    warmup: int = 10
    batch: int = 3
    segment_tokens: int = 40  # 1.6 s
    max_phones: int = 40
    gpt_batch: int = 6
    spoil: float = 0.1
    own: float = 0.0  # share of the generator's rows that decode the recording's own latents
    adversary: float = 0.0  # of the GAN and the feature matching, where discriminators are kept
    dropout: float = 0.1
    guide: float = 0.2
    words: float = 2.0  # of the content encoder's distance from what it hears in the recording
    likeness: float = (
        2.0  # of what the speaker encoder `teacher` hears, from the speaker's own clips
    )
    rehearse: int = (
        2  # rows a step of sentences beyond the clips, that are to stay said (`rehearsal`)
    )
    kept: float = 4.0  # there: of the content encoder's distance from what it heard before
    alike: float = 2.0  # there: as `likeness`
    teacher: str = ""  # resemblyzer's pretrained.pt; without it likeness is not asked for
    ema: float = 0.97
    clip: float = 1.0
    check_every: int = 40
    patience: int = 3
    save_every: int = 20
    minutes: float = 0.0  # of computing for each part; 0: no limit
    seed: int = 1
    share: float = Field(
        default=0.7, ge=0.0, le=1.0
    )  # of the way from the generator as it was to the tuned one (of our own kind)


@dataclass(frozen=True)
class Part:
    """One module on its way: what it loses, and how it is judged."""

    name: str
    module: nn.Module
    losses: Callable[[int], dict[str, Tensor]]
    weights: dict[str, float]
    steps: int
    rate: float
    check: Check
    learns: Callable[[Tuning], list[dict[str, Any]]] | None = (
        None  # what of it, as groups with a `scale`; None: all
    )
    beside: nn.Module | None = None  # learns along and is thrown away: discriminators
    share: float = 1.0  # of the way to the tuned weights that is gone in the end
