"""English words with two readings, told apart by the words around them.

Most are verb / noun pairs (data/homographs.tsv: reCORD, REcord); a word is taken for a verb
after `to`, auxiliaries, negations and personal pronouns, or where an imperative opens the
sentence. The rest (read, live, close, wind, tear, lead, bow, ...) have a rule of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files

Reading = tuple[str, ...]
_BASE = frozenset(
    "to will would can could should shall must may might do does did don't doesn't didn't"
    " won't can't couldn't wouldn't shouldn't mustn't cannot please let's help i'll you'll"
    " we'll they'll he'll she'll it'll i'd you'd we'd they'd he'd she'd".split()
)
_SUBJECTS = frozenset("i you we they who he she it that which not never always often also".split())
_BEFORE_OBJECT = frozenset(
    "the a an this that these those my your his her its our their it them us me him".split()
)
_BE = frozenset(
    "is are was were be been being am 's 're it's that's isn't aren't wasn't so too very".split()
)
_HAVE = frozenset("have has had having i've you've we've they've be been is are was were".split())
_PAST = re.compile(r"\b(yesterday|last|ago|had|was|were|once)\b")
_LIVE_THINGS = frozenset(
    "music show shows stream streams streaming concert concerts broadcast broadcasts"
    " performance audience television tv wire wires ammunition album coverage event events"
    " demo data chat video bait recording".split()
)


@cache
def _pairs() -> dict[str, tuple[Reading, Reading]]:
    text = files(__package__).joinpath("data", "homographs.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {word: (tuple(verb.split()), tuple(other.split())) for word, verb, other in rows}


def resolve(word: str, before: str, after: str) -> Reading | None:
    """Reading of a lower-case homograph between the rest of its text; None if it is not one."""
    special = _SPECIAL.get(word)
    if special is None and word not in _pairs():
        return None
    previous = re.findall(r"[a-z]+(?:'[a-z]+)*|[.!?…,]", before.lower())[-3:]
    following = re.findall(r"[a-z]+(?:'[a-z]+)*|[.!?…,]", after.lower())[:2]
    last, ahead = (previous or ["."])[-1], (following or ["."])[0]
    if special:
        return tuple(special(last, ahead, before.lower() + after.lower()).split())
    verb, other = _pairs()[word]
    return verb if _is_verb(last, ahead) else other


def _is_verb(last: str, ahead: str) -> bool:
    if last in _BASE or last in _SUBJECTS - {"that", "which", "it"}:
        return True
    return (last in ".!?…,;" or last in ("and", "or", "it", "that", "which")) and (
        ahead in _BEFORE_OBJECT
    )


def _read(last: str, ahead: str, rest: str) -> str:
    if last in _BASE or last in ".!?…":
        return "R IY1 D"
    present = last in ("i", "you", "we", "they", "and", "always", "often") and not _PAST.search(
        rest
    )
    return "R IY1 D" if present else "R EH1 D"


def _live(last: str, ahead: str, rest: str) -> str:
    adjective = last in ("a", "the", "go", "going", "broadcast", "watch", "streamed", "it's", "is")
    return "L AY1 V" if adjective or ahead in _LIVE_THINGS else "L IH1 V"


def _lives(last: str, ahead: str, rest: str) -> str:
    noun = (
        last
        in "my your his her its our their these those many save saved of nine two both all the".split()
    )
    return "L AY1 V Z" if noun else "L IH1 V Z"


def _close(last: str, ahead: str, rest: str) -> str:
    if last in _BASE or (ahead in _BEFORE_OBJECT and last not in _BE):
        return "K L OW1 Z"
    return "K L OW1 Z" if last in ".!?…" and ahead not in ("to", "by", ",") else "K L OW1 S"


def _use(last: str, ahead: str, rest: str) -> str:
    noun = last in "the of no in any a its their our for much little into good make made 's".split()
    return "Y UW1 S" if noun or ahead in ("of", "case", "cases") else "Y UW1 Z"


def _used(last: str, ahead: str, rest: str) -> str:
    return (
        "Y UW1 S T"
        if ahead == "to" and last not in ("be", "was", "were", "is", "are")
        else "Y UW1 Z D"
    )


def _wind(last: str, ahead: str, rest: str) -> str:
    verb = last in _BASE and last != "would" or ahead in ("up", "down", "around")
    return "W AY1 N D" if verb else "W IH1 N D"


def _tear(last: str, ahead: str, rest: str) -> str:
    verb = last in _BASE or ahead in ("apart", "up", "down", "off", "it", "them", "in", "the")
    return "T EH1 R" if verb else "T IH1 R"


def _lead(last: str, ahead: str, rest: str) -> str:
    metal = ahead in ("pipe", "pipes", "paint", "poisoning", "pencil") or last in ("of", "molten")
    return "L EH1 D" if metal else "L IY1 D"


def _bow(last: str, ahead: str, rest: str) -> str:
    weapon = ahead in ("and", "tie", "string") or last in ("violin", "cross", "his", "her", "tied")
    return "B OW1" if weapon else "B AW1"


def _bass(last: str, ahead: str, rest: str) -> str:
    fish = re.search(r"\b(fish|fishing|caught|sea|lake|river|striped)\b", rest)
    return "B AE1 S" if fish and ahead not in ("player", "guitar") else "B EY1 S"


def _content(last: str, ahead: str, rest: str) -> str:
    happy = last in _BE or ahead in ("with", "to")
    return "K AH0 N T EH1 N T" if happy else "K AA1 N T EH0 N T"


def _complex(last: str, ahead: str, rest: str) -> str:
    noun = last in ("apartment", "office", "sports", "the") and not ahead.isalpha()
    return "K AA1 M P L EH0 K S" if noun else "K AH0 M P L EH1 K S"


def _minute(last: str, ahead: str, rest: str) -> str:
    tiny = ahead in ("detail", "details", "amount", "amounts", "particles", "differences")
    return "M AY0 N UW1 T" if tiny else "M IH1 N AH0 T"


def _wound(last: str, ahead: str, rest: str) -> str:
    return "W AW1 N D" if ahead in ("up", "down", "around") else "W UW1 N D"


def _does(last: str, ahead: str, rest: str) -> str:
    return "D OW1 Z" if last == "the" else "D AH1 Z"


def _dove(last: str, ahead: str, rest: str) -> str:
    return "D OW1 V" if ahead in ("into", "in", "off", "under", "down") else "D AH1 V"


_SPECIAL: dict[str, Callable[[str, str, str], str]] = {
    "read": _read, "live": _live, "lives": _lives, "close": _close, "use": _use, "used": _used,
    "wind": _wind, "tear": _tear, "lead": _lead, "bow": _bow, "bass": _bass, "content": _content,
    "complex": _complex, "minute": _minute, "wound": _wound, "does": _does, "dove": _dove,
}  # fmt: skip
