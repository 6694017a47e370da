"""The glass box: see, attribute and test every joint of a synthesis.

    opened = trace("Really?", "nova", seed=1)    # one synthesis, every joint recorded
    explain("Really?", "nova").save("report.html")

Whatever is shown without an intervention behind it says "correlational". Nothing here writes audio:
speech comes from the engine.
"""

from __future__ import annotations

from .tracing import PassageTrace, Trace, trace

__all__ = ["PassageTrace", "Trace", "trace"]
