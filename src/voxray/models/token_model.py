"""What the text-to-token models share: `GPT` and the LSTM `Student` are called alike and are watched alike.

Every site of such a model knows the `Moment`: which step it is, which rows [start, end) run, and how many of all
rows are text. `config.codebook_size` is the token that ends the speech.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from voxray.sites import Moment, sites


class TokenModel(nn.Module):
    """The base: its classes give `forward` to train, `prefill` and `step` to speak."""

    config: Any
    moment: Moment

    @property
    def end(self) -> int:
        """The token id that ends the speech."""
        return self.config.codebook_size

    def _clock(self) -> Moment:
        """One moment for all sites; called once everything is built."""
        moment = Moment()
        for site in sites(self).values():
            site.moment = moment
        return moment

    def _tell(self, step: int, start: int, end: int, text: int) -> None:
        """Say to the sites which rows come now; step -1: many at once."""
        self.moment.step, self.moment.text = step, text
        self.moment.positions = range(start, end)
