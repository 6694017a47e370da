"""The door by which edits reach a synthesis: what the pipeline asks of them, without knowing them.

`SynthesisOptions.edits` holds an `Intervention`; for each piece of a text it gives a
`PieceIntervention`: edits at sites of the GPT, edits at sites of the generator for a span of tokens,
another speaker vector, where to cut for another speed or a pause, and a gain of the samples. The base
class changes nothing, and the pipeline then does what it does without. `voxray.steer` makes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from .bundle import Bundle
    from .pieces import Piece
    from .text import Phonemes
    from .voice import Voice
    from .watch import Watch

Wave = NDArray[np.float32]
SiteEdits = Mapping[str, Callable[..., Tensor]]
NONE: SiteEdits = {}
PARTS = ("on", "check", "record", "by_word", "warnings")


@dataclass(frozen=True)
class Part:
    """Tokens [begin, end) to be sounded at once, `rate` times as fast, then a silence."""

    begin: int
    end: int
    rate: float = 1.0
    pause_ms: int = 0


@dataclass(frozen=True)
class SoundSpan:
    """A run of the generator: tokens [start, stop) of the piece, at `speed`.

    `path` is the phoneme (of the piece) that each token so far says; empty where that is unknown.
    """

    start: int
    stop: int
    path: Sequence[int]
    speed: float


class Decoding(Protocol):
    """What an edit may see of the decoder at work; both grow as it goes on."""

    tokens: list[int]
    watch: Watch | None


class PieceIntervention:
    """What is done to one piece. This one does nothing."""

    needs_path = False  # whether it must know which phoneme each token says
    closing_ms = 0  # silence after the piece

    def follow(self, decoder: Decoding) -> None:
        """See the decoder at work: its tokens and its watch, while they grow."""

    def gpt(self, rows_before: int) -> SiteEdits:
        """Edits at the GPT's sites; `rows_before` rows stand between the text and token 0's row."""
        return NONE

    def generator(self, span: SoundSpan) -> SiteEdits:
        """Edits at the generator's sites for one run."""
        return NONE

    def speaker(self, vector: Tensor) -> Tensor:
        """The speaker vector [G] to use."""
        return vector

    def parts(self, begin: int, end: int, path: Sequence[int]) -> Iterator[Part]:
        """How tokens [begin, end) are cut for the generator."""
        yield Part(begin, end)

    def wave(self, samples: Wave, part: Part, path: Sequence[int]) -> Wave:
        """The samples of a part, changed."""
        return samples


class Intervention(Protocol):
    """What `SynthesisOptions.edits` must be able to do."""

    def check(self, models: Bundle) -> None:
        """ValueError if the edits do not fit these models."""

    def on(
        self, models: Bundle, phonemes: Phonemes | None, piece: Piece, first: int
    ) -> PieceIntervention:
        """For one piece; `first` phonemes of a style reference stand before it.

        `phonemes` are those of the whole text, where `by_word` says that they are wanted.
        """
        ...

    @property
    def by_word(self) -> bool:
        """Whether any edit names a word."""
        ...

    def record(self) -> list[dict[str, Any]]:
        """The edits as data, for the record of what was made."""
        ...

    def warnings(self, models: Bundle, voice: Voice) -> list[str]:
        """What the edits will not reach of this voice, in words."""
        ...


def intervention(value: Any) -> Any:
    """Refuse what is no intervention, in words a user understands."""
    if value is None or all(hasattr(value, name) for name in PARTS):
        return value
    raise ValueError(
        "edits are made by voxray.steer: steer.load('edits.json') or steer.Edits((...)), "
        f"not {type(value).__name__}"
    )
