"""What can be chosen for one request besides text and voice."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from pydantic import Field, field_validator

from .config import BundleConfig
from .interventions import intervention
from .sampling import SamplingOptions, check_seed
from .watch import WatchOptions


class SynthesisOptions(SamplingOptions):
    """All that can be chosen for one request besides text and voice."""

    language: str = Field(default="auto", pattern="^((all_)?(zh|ja|ko|yue)|auto(_yue)?|en)$")
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    seed: int | None = None
    pause_ms: int = Field(default=280, ge=0, le=60_000)  # between sentences
    stream: Literal["early", "equal"] = (
        "early"  # equal: a sentence's tokens are all made before its sound
    )
    takes: int = Field(
        default=1, ge=1, le=16
    )  # of a sentence that is not heard while it is made; the best is kept
    style: bool = True  # speak in the manner of the voice's style reference, if it has one
    watch: WatchOptions | None = WatchOptions()  # None: nothing watches the alignment
    edits: Any = Field(default=None, exclude=True)  # of voxray.steer

    @field_validator("edits")
    @classmethod
    def _edits_are_edits(cls, value: Any) -> Any:
        return intervention(value)

    def suited(self, config: BundleConfig) -> SynthesisOptions:
        """With the model's own temperature, repetition penalty and takes, where none were asked for."""
        own = {
            "takes": config.takes,
            "temperature": config.temperature,
            "repetition_penalty": config.repetition_penalty,
        }
        missing = own.keys() - self.model_fields_set
        return self.model_copy(update={name: own[name] for name in missing})

    def seeded(self) -> SynthesisOptions:
        """The same options with a seed: the given one, checked, or a fresh one."""
        seed = secrets.randbelow(2**31) if self.seed is None else check_seed(self.seed)
        return self.model_copy(update={"seed": seed})
