"""Text to phonemes, English and Mandarin: `TextPipeline()(text) -> Phonemes`.

Dictionaries are loaded on first use; importing this package is cheap.
"""

from .breath import split_breaths
from .fingerprint import Check, check
from .phonemes import Phoneme, Phonemes, Word
from .pipeline import TextPipeline, validate
from .published import PublishedPipeline
from .sentences import split_sentences

__all__ = [
    "Check",
    "Phoneme",
    "Phonemes",
    "PublishedPipeline",
    "TextPipeline",
    "Word",
    "check",
    "split_breaths",
    "split_sentences",
    "validate",
]
