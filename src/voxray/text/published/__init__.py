"""The text front end of the published GPT-SoVITS models: all five languages, as they were trained.

    PublishedPipeline(version="v2")(text, "auto") -> PublishedPhonemes

One file a language (`zh`, `en`, `ja`, `ko`, `yue`), each text -> `Unit`s; `segments` finds the
language of every stretch, `cuts` cuts long text into pieces, `symbols` holds the two tables.
A published checkpoint knows only what it heard in training, so for it these conventions hold,
also where ours read better.
"""

from .cuts import cut, prepare, split_long
from .pipeline import PublishedPhonemes, PublishedPipeline, Segment

__all__ = [
    "PublishedPhonemes",
    "PublishedPipeline",
    "Segment",
    "cut",
    "prepare",
    "split_long",
]
