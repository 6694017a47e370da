"""The glass box: see, attribute and test every joint of a synthesis.

    opened = trace("Really?", "nova", seed=1)             # one synthesis, every joint recorded
    explain("Really?", "nova", seed=1).save("report.html")  # all that follows from it, on one page
    align_recording(bundle, "the words", wave, rate)      # word times of a recording

Whatever is shown without an intervention behind it says "correlational". Nothing here writes audio:
speech comes from the engine. docs/metrics.md defines every figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .alignment import Alignment, align, align_recording
    from .attribution import Attribution
    from .heads import HeadTable
    from .lens import Lens
    from .report import Answer, Report, Take, explain, report_of
    from .tracing import PassageTrace, Trace, trace

_HOME = {
    "Alignment": "alignment",
    "Answer": "report",
    "Attribution": "attribution",
    "HeadTable": "heads",
    "Lens": "lens",
    "PassageTrace": "tracing",
    "Report": "report",
    "Take": "report",
    "Trace": "tracing",
    "align": "alignment",
    "align_recording": "alignment",
    "explain": "report",
    "report_of": "report",
    "trace": "tracing",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    """Load on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'voxray.explain' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
