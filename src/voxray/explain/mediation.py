"""By which way a cause works: through the tokens, directly in the generator, or both together.

In: four values of one measure, for each draw of the dice: tokens clean or changed x generator clean or
changed. Out: the total effect (clean - all changed) split into the part that comes with the tokens
(GPT), the part that comes without them (generator), and their interaction; they add up exactly, which
`gap` shows. After the four-way comparison of Pearl's mediation (2001), both parts taken from the clean run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Mediation:
    """Effects in the measure's unit, means over the draws."""

    total: float
    gpt: float
    generator: float
    interaction: float

    @property
    def gap(self) -> float:
        """|parts - total| / |total|: rounding only; nan where there is no effect to share out."""
        parts = self.gpt + self.generator + self.interaction
        return abs(parts - self.total) / abs(self.total) if self.total else float("nan")

    def shares(self) -> dict[str, float]:
        """Parts of the total; they mean little where parts of both signs are larger than the total."""
        if not self.total:
            return {}
        names = ("gpt", "generator", "interaction")
        return {name: getattr(self, name) / self.total for name in names}

    def to_json(self) -> dict[str, float]:
        """As a plain dict."""
        return {**asdict(self), "gap": self.gap}


def mediate(
    clean: ArrayLike, tokens: ArrayLike, generator: ArrayLike, both: ArrayLike
) -> Mediation:
    """The 2 x 2 of values [draws]: nothing, only the tokens, only the generator, both changed."""
    cells = np.array([clean, tokens, generator, both], np.float64)  # [4, draws]
    kept = cells[:, np.isfinite(cells).all(0)]
    if kept.shape[1] == 0:
        raise ValueError("no draw gave a value in all four runs: nothing can be shared out")
    none, only_tokens, only_generator, all_changed = kept.mean(1)
    by_gpt, by_generator = none - only_tokens, none - only_generator
    total = none - all_changed
    return Mediation(
        float(total),
        float(by_gpt),
        float(by_generator),
        float(total - by_gpt - by_generator),
    )
