"""The one error for a judge that is not installed: it says which command brings it."""

from __future__ import annotations

from pathlib import Path

EXTRA = "voxray[eval]"


class JudgeMissing(OSError):
    """A judge cannot be asked, because its package or its weights are not here."""

    @classmethod
    def package(cls, name: str) -> JudgeMissing:
        """A Python package is missing."""
        return cls(f"evaluation needs the package {name!r}; install it with: pip install '{EXTRA}'")

    @classmethod
    def weights(cls, path: Path) -> JudgeMissing:
        """A file of weights is missing."""
        folder = path.parent if path.suffix else path
        return cls(
            f"{path} is missing; fetch the judges' weights with: "
            f"python -m voxray.evaluate.fetch --to {folder}"
        )
