"""The seeded sampler: logits [V] of one step and that step's dice -> one token.

All dice are drawn up front from a seed (`Noise.draw`), on the CPU and by one thread, so that a
seed means the same tokens on any machine, and a run with an edit differs from the clean run by the
edit alone. Picking argmax(logits + Gumbel noise) is sampling from softmax(logits) (Gumbel-max).
The order of the rules is the published family's: floor, penalty, nucleus, temperature, top-k.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from .config import Config

MAX_SEED = 2**63 - 1
NEVER = float("-inf")


class SamplingOptions(Config):
    """How a token is picked. The defaults are those of the published family."""

    temperature: float = Field(default=1.0, ge=0.0, le=10.0)
    top_k: int = Field(default=15, ge=1)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.35, ge=0.1, le=10.0)
    floor: int = Field(default=11, ge=0)  # the end is not allowed before so many tokens
    max_tokens: int = Field(default=1500, ge=1)  # 60 s at 25 Hz
    compat: tuple[Literal["unmasked-cache"], ...] = ()  # known defects of the published code


@dataclass(frozen=True)
class Choice:
    """One step's outcome: the token, and whether speech ends here (the token is then dropped)."""

    token: int
    ended: bool


def generator(seed: int) -> torch.Generator:
    """A CPU generator for a seed; the only place where seeds become randomness."""
    return torch.Generator(device="cpu").manual_seed(check_seed(seed))


def check_seed(seed: object) -> int:
    """Refuse what is not a whole number of 0 .. 2^63 - 1 (True and 3.0 are not)."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed must be a whole number, not {seed!r}")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must lie between 0 and {MAX_SEED}, not {seed}")
    return seed


def derive(seed: int, *path: object) -> int:
    """A seed of its own for each use of one request's seed (sentence 3, second try, ...)."""
    text = "/".join(str(part) for part in (seed, *path))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") & MAX_SEED


@dataclass(frozen=True)
class Noise:
    """The dice of all steps: Gumbel noise [steps, V]. A longer draw begins like a shorter one."""

    gumbel: Tensor

    @staticmethod
    def draw(seed: int, steps: int, vocabulary: int) -> Noise:
        """Draw the dice of `steps` steps from a seed."""
        return Noise(gumbel_noise(generator(seed), steps, vocabulary))

    def __getitem__(self, step: int) -> Tensor:
        return self.gumbel[step]


def gumbel_noise(dice: torch.Generator, steps: int, vocabulary: int) -> Tensor:
    """Standard Gumbel noise [steps, V]; uniform draws are serial, hence free of thread counts."""
    uniform = torch.rand(steps, vocabulary, generator=dice)
    tiny = torch.finfo(uniform.dtype).tiny
    exponential = torch.log(uniform.clamp_min(tiny)).neg()
    return torch.log(exponential.clamp_min(tiny)).neg()


def normal_noise(seed: int, channels: int, frames: int) -> Tensor:
    """The prior's dice [1, channels, frames]; frame t is the same however many are drawn."""
    rows = (frames + 15) // 16 * 16  # torch draws normals in blocks of 16
    drawn = torch.randn(rows, channels, generator=generator(seed))[:frames]
    return drawn.T.unsqueeze(0).contiguous()


def penalise(logits: Tensor, present: Tensor, penalty: float) -> Tensor:
    """Repetition penalty over the set of tokens present so far (prompt and output)."""
    if penalty == 1.0 or present.numel() == 0:
        return logits
    seen = logits[present]
    return logits.index_put((present,), torch.where(seen < 0, seen * penalty, seen / penalty))


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Drop tokens whose cumulative probability, own one included, exceeds top_p; keep the best."""
    if top_p >= 1.0:
        return logits
    ordered, order = torch.sort(logits, descending=True)
    drop = torch.cumsum(torch.softmax(ordered, dim=-1), dim=-1) > top_p
    drop[0] = False
    return logits.masked_fill(torch.zeros_like(drop).scatter(0, order, drop), NEVER)


def keep_best(logits: Tensor, top_k: int) -> Tensor:
    """Keep the logits not below the k-th best."""
    if top_k >= logits.numel():
        return logits
    return logits.masked_fill(logits < torch.topk(logits, top_k).values[-1], NEVER)


def filtered(penalised: Tensor, options: SamplingOptions) -> Tensor:
    """Nucleus (before temperature, as published), temperature, top-k: logits to draw from."""
    kept = nucleus(penalised, options.top_p) / max(options.temperature, 1e-5)
    return keep_best(kept, options.top_k)


def choose(
    logits: Tensor,
    gumbel: Tensor,
    present: Tensor,
    options: SamplingOptions,
    end_token: int,
    *,
    may_end: bool = True,
) -> Choice:
    """Pick a token from logits [V] with one step's dice [V].

    `present` holds the token ids seen so far. Speech ends when the draw is the end token or when
    the end token is the best penalised logit; `may_end=False` removes the end token altogether.
    """
    if not may_end:
        logits = logits.index_fill(0, torch.tensor([end_token]), NEVER)
    penalised = penalise(logits, present, options.repetition_penalty)
    drawn = int(torch.argmax(filtered(penalised, options) + gumbel))
    ended = may_end and (drawn == end_token or int(torch.argmax(penalised)) == end_token)
    return Choice(end_token if ended else drawn, ended)
