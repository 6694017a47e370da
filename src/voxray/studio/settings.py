"""What the owner of a studio chooses: frozen and strict. Times are seconds, sizes are bytes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..config import Config

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORT = 7860


class Settings(Config):
    """A studio."""

    home: Path  # holds voices/, models/ and concepts/
    model: Path | None = None  # None: the built-in one
    hosts: tuple[str, ...] = LOOPBACK  # names in the Host header

    most_characters: int = Field(default=5_000, ge=1)
    most_lines: int = Field(default=100, ge=1)  # of a script
    most_json: int = Field(default=1 << 20, ge=1)
    most_upload: int = Field(default=50 << 20, ge=1)
    most_decoded: float = Field(default=600.0, gt=0)  # seconds of sound in an upload
    most_takes: int = Field(default=64, ge=2)  # sounds kept; the oldest go first
    draws: int = Field(default=6, ge=3)  # of dice, behind each answer to "why?"

    @property
    def voices(self) -> Path:
        """The user's own voices."""
        return self.home / "voices"

    @property
    def models(self) -> Path:
        """Tuned models."""
        return self.home / "models"

    @property
    def concepts(self) -> Path:
        """Files of edits with one concept each, made by `voxray steer concept`."""
        return self.home / "concepts"
