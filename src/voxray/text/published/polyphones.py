"""Which reading a Mandarin character has in its sentence: the switch between g2pW and pypinyin.

The published v2 models were trained on readings by g2pW, a model of its own that the user gives
as a folder (with `g2pW.onnx`); it needs the package g2pw. A function from a clause of Han
characters to one pinyin syllable (`zhong4`) a character serves as well. Without either, words
are looked up in pypinyin's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .optional import load
from .zh import Readings

PYPINYIN = "Mandarin polyphones are read by pypinyin's word tables, not by g2pW"


def model_readings(source: Path | Readings | None) -> tuple[Readings | None, str]:
    """The function to ask, None for pypinyin, and a note that says which it is."""
    if source is None:
        return None, PYPINYIN
    if not isinstance(source, (str, Path)):
        return source, "Mandarin polyphones are read by the given function"
    folder = Path(source)
    if not (folder / "g2pW.onnx").is_file():
        return None, f"{PYPINYIN}: {folder} holds no g2pW.onnx"
    return _g2pw(folder), f"Mandarin polyphones are read by g2pW from {folder.name}"


def _g2pw(folder: Path) -> Readings:
    converter = load("g2pw", "g2pW readings").G2PWConverter(
        model_dir=str(folder), style="pinyin", enable_non_tradional_chinese=True
    )

    def readings(clause: str) -> Sequence[str]:
        return [syllable or "" for syllable in converter(clause)[0]]

    return readings
