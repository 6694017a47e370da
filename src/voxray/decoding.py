"""One sentence's tokens, made step by step: GPT + sampler + watch.

In: phoneme ids [P] (with those of a style reference in front, if any) and a seed; out: tokens [S],
25 a second, and the phoneme of each. A fault that the watch reports is drawn again from the token
where it began, with other dice, a bounded number of times. Tokens already turned into sound
(`commit`) are never taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from .interventions import PieceIntervention
from .models.attention import KVCache
from .models.gpt import GPT
from .sampling import Noise, SamplingOptions, choose, derive
from .sites import attach
from .watch import Fault, Watch

PUBLISHED_SLOTS = 2500  # of the published code's cache on a GPU, all of them attended to
NOBODY = torch.zeros(0, dtype=torch.long)
NOISE_BLOCK = 64  # steps of dice drawn at a time; a longer draw begins like a shorter one


class Dice:
    """The Gumbel noise of one try, grown as needed; step i is the same however far it grows."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        self.seed = seed
        self.vocabulary = vocabulary
        self._noise = Noise.draw(seed, 4 * NOISE_BLOCK, vocabulary)

    def __getitem__(self, step: int) -> Tensor:
        while step >= len(self._noise.gumbel):
            self._noise = Noise.draw(self.seed, 2 * len(self._noise.gumbel), self.vocabulary)
        return self._noise[step]


class TokenDecoder:
    """Makes the tokens of one sentence; `advance` as far as wanted, then read `tokens`."""

    def __init__(
        self,
        gpt: GPT,
        text_ids: Sequence[int],
        options: SamplingOptions,
        seed: int,
        *,
        watch: Watch | None = None,
        prompt_tokens: Sequence[int] = (),
        limit: int | None = None,
        context: Tensor | None = None,
        edits: PieceIntervention | None = None,
    ) -> None:
        self.gpt = gpt
        self.options = options
        self.seed = seed
        self.watch = watch
        self.prompt = list(prompt_tokens)
        self.limit = min(limit or options.max_tokens, options.max_tokens)
        self.tokens: list[int] = []
        self.done = False
        self.redraws: list[Fault] = []
        self.unmended: list[Fault] = []
        self.committed = 0
        self.device = next((p.device for p in gpt.parameters()), torch.device("cpu"))
        self._text = torch.tensor([list(text_ids)], device=self.device)  # [1, P]
        self._context = None if context is None else context.to(self.device)  # [1, P, E]
        self._dice = Dice(derive(seed, "try", 0), gpt.config.codebook_size + 1)
        self.cache: KVCache | None = None  # all but the newest token; None: to be read (again)
        self._rows_before = len(self.prompt) - (0 if gpt.config.bos else 1)
        self._edits = edits or PieceIntervention()
        self.text_length = len(text_ids)
        self.edited = type(self._edits) is not PieceIntervention
        self._edits.follow(self)

    @property
    def cut_off(self) -> bool:
        """Whether the limit, not the end token, ended the speech."""
        return self.done and len(self.tokens) >= self.limit

    @property
    def path(self) -> list[int]:
        """The phoneme of the text to be said under each token; nothing without a watch."""
        watch = self.watch
        return [] if watch is None else [position - watch.first for position in watch.path]

    def reached(self, count: int | None) -> bool:
        """Whether there are `count` tokens (None: all), or will be no more."""
        goal = self.limit if count is None else min(count, self.limit)
        return self.done or len(self.tokens) >= goal

    def commit(self, tokens: int) -> None:
        """The first `tokens` tokens are sound now."""
        self.committed = max(self.committed, tokens)

    @torch.inference_mode()
    def advance(self, count: int | None = None) -> None:
        """Make tokens until there are `count` of them (None: all)."""
        with self._watching():
            while not self.reached(count):
                self._one_more()

    def _watching(self) -> ExitStack:
        """Edits first, then the watch: it keeps its window over what they did."""
        stack = ExitStack()
        edits = self._edits.gpt(self._rows_before)
        if edits:
            stack.enter_context(attach(self.gpt, edits))
        if self.watch is not None:
            stack.enter_context(attach(self.gpt, self.watch.edits(self._rows_before)))
        return stack

    def _one_more(self) -> None:
        self.take(self._logits())

    def take(self, logits: Tensor) -> None:
        """Draw the next token from its logits [V]."""
        step = len(self.tokens)
        watch = self.watch
        if watch is not None:
            watch.look()
            if watch.must_end and step >= self.options.floor:
                self.done = True
                return
        may_end = step >= self.options.floor and (watch is None or watch.may_end)
        present = self._present()
        choice = choose(
            logits, self._dice[step], present, self.options, self.gpt.end, may_end=may_end
        )
        if choice.ended:
            self.done = True
            return
        self.tokens.append(choice.token)
        if watch is not None:
            watch.settle()
            self._mend(watch)
        self.done = self.done or len(self.tokens) >= self.limit

    def _present(self) -> Tensor:
        """The ids seen so far, where a penalty wants to know."""
        if self.options.repetition_penalty == 1.0:
            return NOBODY
        return torch.tensor(sorted({*self.prompt, *self.tokens}), dtype=torch.long)

    def _logits(self) -> Tensor:
        """Logits [V] of the next token; the cache holds all but the newest token."""
        if self.watch is not None:
            self.watch.feed()
        if self.cache is None:
            lengths = torch.tensor([self._text.shape[1]], device=self.device)
            before = [[*self.prompt, *self.tokens]]
            before = torch.tensor(before, dtype=torch.long, device=self.device)
            logits, self.cache = self.gpt.prefill(self._text, lengths, before, self._context)
            if "unmasked-cache" in self.options.compat:
                self.cache.ghosts = PUBLISHED_SLOTS
        else:
            newest = torch.tensor(self.tokens[-1:], device=self.device)
            logits = self.gpt.step(newest, self.cache)
        return logits[0].float().cpu()

    def _mend(self, watch: Watch) -> None:
        fault = watch.fault()
        if fault is None:
            return
        if len(self.redraws) < watch.options.tries and self.committed < len(self.tokens):
            self._redraw(watch, fault)
            return
        self.unmended.append(fault)
        if fault.kind == "stall":
            watch.nudge()
        else:
            watch.forgive(fault)

    def _redraw(self, watch: Watch, fault: Fault) -> None:
        self.redraws.append(fault)
        keep = max(fault.token, self.committed)
        del self.tokens[keep:]
        watch.rewind(keep)
        attempt = derive(self.seed, "try", len(self.redraws))
        self._dice = Dice(attempt, self._dice.vocabulary)
        self.cache = None  # read again up to here: the same positions, the same numbers
