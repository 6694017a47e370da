"""The two symbol tables of the published models: 322 symbols (v1) and 732 (v2).

The first 322 are the same; v1 knows no Japanese accent marks, no Korean and no Cantonese. A symbol
that a table lacks is `UNK` in it.
"""

from __future__ import annotations

from typing import Literal

from ..symbols import CORE, SYMBOLS, UNKNOWN

Version = Literal["v1", "v2"]
Tongue = Literal["zh", "en", "ja", "ko", "yue"]

TABLES: dict[Version, tuple[str, ...]] = {"v1": CORE, "v2": SYMBOLS}
_IDS = {name: {symbol: i for i, symbol in enumerate(table)} for name, table in TABLES.items()}


def known(symbol: str, version: Version) -> str:
    """The symbol itself, or `UNK` where the table lacks it."""
    return symbol if symbol in _IDS[version] else UNKNOWN


def number(symbol: str, version: Version) -> int:
    """Id of a symbol that the table holds."""
    return _IDS[version][symbol]
