"""Edits as data: what is to be done to a synthesis, frozen, strict, saved as JSON.

Each edit is one small record; `Edits` is a list of them for one model (or for any), and is what
`tts(..., edits=...)` takes. Records compose by `+`, in order: first written, first done. A word is named
by its text (the n-th occurrence) or by its number, counted from 0 through the whole text.
Gains multiply, doses multiply attention (the logarithm is added to the logits),
amounts multiply a direction.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ..config import Config

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..interventions import PieceIntervention
    from ..pieces import Piece
    from ..text import Phonemes
    from ..voice import Voice

FORMAT = 1
BUILTIN = (
    Path(__file__).parents[1] / "builtin" / "concepts"
)  # those that hold: benchmarks/concepts.py
Heads = tuple[tuple[int, int], ...]  # (layer, head)


class Edit(Config):
    """One edit. It can be given to `tts` alone or within `Edits`."""

    word: str | int | None = None  # None: everywhere
    occurrence: int = Field(default=1, ge=1)

    def record(self) -> list[dict[str, Any]]:
        """As data."""
        return Edits(edits=(self,)).record()  # type: ignore[arg-type]

    def check(self, models: Bundle) -> None:
        """ValueError if it does not fit these models."""
        Edits(edits=(self,)).check(models)  # type: ignore[arg-type]

    def on(
        self, models: Bundle, phonemes: Phonemes | None, piece: Piece, first: int
    ) -> PieceIntervention:
        """For one piece of a text."""
        return Edits(edits=(self,)).on(models, phonemes, piece, first)  # type: ignore[arg-type]

    @property
    def by_word(self) -> bool:
        """Whether it names a word."""
        return self.word is not None

    def warnings(self, models: Bundle, voice: Voice) -> list[str]:
        """What it will not reach of this voice."""
        return Edits(edits=(self,)).warnings(models, voice)  # type: ignore[arg-type]

    def __add__(self, other: Edit | Edits) -> Edits:
        return Edits(edits=(self,)) + other  # type: ignore[arg-type]


class HeadGain(Edit):
    """Multiply the output of one attention head; gain 0 takes the head out.

    `mean` [D/H]: the head's usual output. With it the head is moved from or to its mean instead of
    zero, which keeps the layers behind it on familiar ground.
    """

    kind: Literal["head"] = "head"
    site: str = Field(examples=["gpt.blocks.2.attn.z", "generator.prior.attn.z"])
    head: int = Field(ge=0)
    gain: float = Field(default=0.0, ge=-10.0, le=10.0)
    mean: tuple[float, ...] | None = None
    steps: tuple[int, int] | None = None  # tokens [first, last) of a piece; None: all, and the text

    @model_validator(mode="after")
    def _steps_go_forward(self) -> HeadGain:
        if self.steps is not None and not 0 <= self.steps[0] < self.steps[1]:
            raise ValueError(f"steps {self.steps} are no span of tokens: first < last, from 0")
        return self


class Emphasis(Edit):
    """Let the speech look `dose` times as much at a word: log(dose) on its columns, exactly.

    heads: those of the GPT that do; None: all but the guided ones (these follow the text, and a
    weight on a word would hold them there). `prior`: the generator's cross-attention as well.
    """

    kind: Literal["emphasis"] = "emphasis"
    word: str | int  # type: ignore[assignment]
    dose: float = Field(gt=0.0, le=1000.0)
    heads: Heads | None = None
    prior: bool = True


class Prosody(Edit):
    """Pitch, energy and rate of a word (or of everything), and a pause after it."""

    kind: Literal["prosody"] = "prosody"
    semitones: float = Field(default=0.0, ge=-24.0, le=24.0)
    decibels: float = Field(default=0.0, ge=-40.0, le=20.0)
    rate: float = Field(default=1.0, ge=0.25, le=4.0)
    pause_ms: int = Field(default=0, ge=0, le=60_000)

    @model_validator(mode="after")
    def _a_pause_follows_a_word(self) -> Prosody:
        if self.pause_ms and self.word is None:
            raise ValueError("a pause follows a word: name the word")
        return self


class Repetition(Edit):
    """Turn heads down while the tokens go round in a loop: the heads found responsible for it."""

    kind: Literal["repetition"] = "repetition"
    heads: Heads = Field(min_length=1)
    gain: float = Field(default=0.0, ge=-10.0, le=10.0)
    always: bool = False  # also outside of loops


class Concept(Edit):
    """Add `amount` times a learnt direction at a site; `keep_norm` keeps each vector's length.

    `head` picks one head at an `attn.z` site (the direction is then [D/H]). The site "speaker" is the
    speaker vector itself.
    """

    kind: Literal["concept"] = "concept"
    name: str
    site: str
    direction: tuple[float, ...] = Field(min_length=1)
    amount: float = Field(default=1.0, ge=-1000.0, le=1000.0)
    head: int | None = Field(default=None, ge=0)
    keep_norm: bool = True


AnyEdit = Annotated[
    HeadGain | Emphasis | Prosody | Repetition | Concept, Field(discriminator="kind")
]


class Edits(Config):
    """A list of edits, in order, for the model of that name (empty: for any)."""

    format: Literal[1] = FORMAT
    model: str = ""
    note: str = ""
    edits: tuple[AnyEdit, ...] = ()

    @property
    def by_word(self) -> bool:
        """Whether any edit names a word."""
        return any(edit.by_word for edit in self.edits)

    def check(self, models: Bundle) -> None:
        """ValueError if an edit does not fit these models."""
        from .checks import check

        check(self, models)

    def warnings(self, models: Bundle, voice: Voice) -> list[str]:
        """What the edits will not reach of this voice, in words."""
        from .checks import warnings

        return warnings(self, models, voice)

    def on(
        self, models: Bundle, phonemes: Phonemes | None, piece: Piece, first: int
    ) -> PieceIntervention:
        """What the pipeline asks for: the edits of one piece."""
        from .acting import PieceEdits

        return PieceEdits(self, models, phonemes, piece, first)

    def record(self) -> list[dict[str, Any]]:
        """The edits as plain data."""
        return [edit.model_dump(mode="json", exclude_defaults=True) | {"kind": edit.kind}
                for edit in self.edits]  # fmt: skip

    def __add__(self, other: Edit | Edits) -> Edits:
        more = other if isinstance(other, Edits) else Edits(edits=(other,))  # type: ignore[arg-type]
        names = {self.model, more.model} - {""}
        if len(names) > 1:
            raise ValueError(f"edits of different models do not compose: {sorted(names)}")
        note = "; ".join(part for part in (self.note, more.note) if part)
        return Edits(model="".join(names), note=note, edits=self.edits + more.edits)

    def without(self, number: int) -> Edits:
        """All but the edit of that number."""
        kept = self.edits[:number] + self.edits[number + 1 :]
        return self.model_copy(update={"edits": kept})

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all."""
        target = Path(path)
        data = {"format": FORMAT, "model": self.model, "note": self.note, "edits": self.record()}
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            part.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            os.replace(part, target)
        except OSError as error:
            raise OSError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)


def load(path: str | Path) -> Edits:
    """Read a file of edits, or a built-in concept by its name; ValueError or OSError says what is wrong."""
    source = Path(path)
    if not source.suffix and not source.exists() and (BUILTIN / f"{source}.json").is_file():
        source = BUILTIN / f"{source}.json"
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {source}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{source} is not JSON: {error}") from error
    return parse(data, str(source))


def parse(data: Any, name: str = "edits") -> Edits:
    """Edits from plain data: a whole file's, or a bare list of edits."""
    if isinstance(data, list):
        data = {"edits": data}
    if not isinstance(data, dict):
        raise ValueError(f'{name} holds no edits: give {{"edits": [...]}}')
    try:
        return Edits(**data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"][0].lower() + first["msg"][1:]
        raise ValueError(f"{name}: {place}: {said}") from error
