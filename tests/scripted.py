"""Planted truth for the watch: a GPT without weights that follows a script.

`plan(attempt, step)` says which phoneme its guided head wants to look at; it looks there unless the
watch's window shuts that place. It has the real sites, so the watch attaches to it as to a model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from voxray.config import GPTConfig
from voxray.models.attention import KVCache
from voxray.sites import Moment, Site

END = 1024


class _Attention(nn.Module):
    def __init__(self, moment: Moment) -> None:
        super().__init__()
        self.bias, self.pattern = Site(), Site()
        self.bias.moment = self.pattern.moment = moment


class _Block(nn.Module):
    def __init__(self, moment: Moment) -> None:
        super().__init__()
        self.attn = _Attention(moment)


class ScriptedGPT(nn.Module):
    """Looks where the plan says; likes all tokens the same; ends where `ends` says so."""

    def __init__(
        self,
        plan: Callable[[int, int], int],
        ends: Callable[[int], bool] = lambda step: False,
    ) -> None:
        super().__init__()
        self.config = GPTConfig(guided_heads=((0, 1),), n_head=2, n_layer=1)
        self.moment = Moment()
        self.blocks = nn.ModuleList([_Block(self.moment)])
        self.end = END
        self.plan, self.ends = plan, ends
        self.attempt = -1
        self.prefills: list[int] = []

    def prefill(
        self,
        text_ids: Tensor,
        text_lengths: Tensor,
        prompt_tokens: Tensor | None = None,
        context: Tensor | None = None,
    ) -> tuple[Tensor, KVCache]:
        self.attempt += 1
        kept = 0 if prompt_tokens is None else prompt_tokens.shape[1]
        self.prefills.append(kept)
        cache = KVCache(length=text_ids.shape[1] + 1 + kept, text=text_ids.shape[1])
        cache.steps = kept
        self.moment.step = -1
        return self._look(range(cache.length), cache), cache

    def step(self, token: Tensor, cache: KVCache) -> Tensor:
        cache.length += 1
        cache.steps += 1
        self.moment.step = cache.steps
        return self._look(range(cache.length - 1, cache.length), cache)

    def _look(self, positions: range, cache: KVCache) -> Tensor:
        self.moment.positions, self.moment.text = positions, cache.text
        attention = self.blocks[0].attn
        bias = attention.bias(torch.zeros(1, 2, len(positions), cache.length))
        wish = torch.zeros(cache.length)
        wish[: cache.text] = (
            4.0 - (torch.arange(cache.text) - self.plan(self.attempt, cache.steps)).abs().float()
        )
        attention.pattern(torch.softmax(wish + bias, dim=-1))
        logits = torch.zeros(1, END + 1)
        logits[:, END] = 30.0 if self.ends(cache.steps) else -30.0
        return logits
