"""The logit lens: what each GPT layer would have said, and where the model hesitates.

In: a trace (residual stream [L, S, D] of the rows that predict the tokens). Out: `Lens`: rank and
log-probability of the spoken token under each layer read through the final norm and head
(nostalgebraist 2020), entropy (nats) of each layer, and of the last one the margin between its two best
tokens. Reading a middle layer through the last one's head is a view, not a cause: correlational.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .tracing import PassageTrace, Trace

Floats = NDArray[np.floating]
CLAIM = "correlational"


@dataclass(frozen=True)
class Lens:
    """What the layers say before they are asked; L layers, S tokens."""

    rank: NDArray[np.int64]  # [L, S], 0: the spoken token is this layer's best
    log_prob: Floats  # [L, S], nats, of the spoken token
    entropy: Floats  # [L, S], nats
    margin: Floats  # [S], log-probability of the best token above the second best
    first: int = 0  # place of the first token in the whole speech

    @property
    def settled(self) -> NDArray[np.int64]:
        """For each token the layer from which on it stays the best one; L: it never was [S]."""
        wrong = self.rank > 0  # [L, S]
        layers = np.arange(1, len(wrong) + 1)[:, None]
        return np.where(wrong, layers, 0).max(0)

    def hesitations(self, most: int = 5) -> list[int]:
        """The tokens where the model knew least what to say: highest entropy of the last layer."""
        return np.argsort(-self.entropy[-1], kind="stable")[:most].tolist()


@torch.inference_mode()
def lens(trace: Trace) -> list[Lens]:
    """One lens a passage."""
    return [_lens(trace, part) for part in trace.passages]


def _lens(trace: Trace, part: PassageTrace) -> Lens:
    gpt = trace.models.gpt
    said = torch.tensor(part.passage.tokens)
    ranks, log_probs, entropies = [], [], []
    for residual in part.residual:
        logits = gpt.head(gpt.final_norm(torch.from_numpy(residual)))  # [S, K+1]
        scores = logits.float().log_softmax(-1)
        own = scores.gather(1, said[:, None])  # [S, 1]
        ranks.append((scores > own).sum(1).numpy())
        log_probs.append(own[:, 0].numpy())
        entropies.append(entropy(scores).numpy())
    best = scores.topk(2, dim=-1).values  # of the last layer
    return Lens(
        rank=np.stack(ranks).astype(np.int64),
        log_prob=np.stack(log_probs),
        entropy=np.stack(entropies),
        margin=(best[:, 0] - best[:, 1]).numpy(),
        first=part.passage.begin,
    )


def entropy(log_probs: Tensor) -> Tensor:
    """Nats, of log-probabilities [..., K] -> [...]."""
    return -(log_probs.exp() * log_probs).sum(-1)
