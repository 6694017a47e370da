"""voxray clones a voice from seconds of audio and shows how: text -> tokens -> audio.

from voxray import Voice, tts
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import save, tts
    from .synthesis import Synthesis
    from .voice import Voice

__version__ = "0.1.0"
__all__ = ["Synthesis", "Voice", "__version__", "save", "tts"]

_HOME = {"Synthesis": "synthesis", "Voice": "voice", "save": "engine", "tts": "engine"}


def __getattr__(name: str) -> Any:
    """Load on first use: `import voxray` stays instant."""
    if name not in _HOME:
        raise AttributeError(f"module 'voxray' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
