"""Registered voices: built-in ones, the owner's, and each key's own. Names, never paths.

`folder/NAME.safetensors` is everybody's, `folder/keys/ID/NAME.safetensors` that key's alone: other
keys neither see nor hear it. What clients call a voice may be an alias of a registered name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..trust import consent, store
from ..trust.access import Caller
from ..voice import Voice, builtin_names
from .errors import Problem

NAME = re.compile(r"\w[\w.-]{0,63}")
PRIVATE = "keys"


class Voices:
    """The voices of a service."""

    def __init__(self, folder: Path | None, aliases: Mapping[str, str]) -> None:
        self.folder = folder
        self.aliases = aliases

    def find(self, who: Caller, name: str) -> Voice:
        """The voice of a registered name that this caller may use."""
        name = self.aliases.get(name, name)
        who.need_voice(name)  # first: a refusal must not tell whether there is such a voice
        path = self._path(who, name)
        if path is None and name not in builtin_names():
            raise Problem("voice-unknown", f"there is no voice named {name!r:.80}")
        voice = Voice.builtin(name) if path is None else Voice.load(path)
        return replace(voice, name=name)

    def names(self, who: Caller) -> dict[str, str]:
        """Name -> `built in`, `shared` or `own`, of all that this caller may use."""
        found = dict.fromkeys(builtin_names(), "built in")
        found |= dict.fromkeys(_stems(self.folder), "shared")
        found |= dict.fromkeys(_stems(self._own(who)), "own")
        return {n: kind for n, kind in sorted(found.items()) if not who.voices or n in who.voices}

    def cards(self, who: Caller) -> list[dict[str, Any]]:
        """What lists show."""
        return [self.card(who, name) for name in self.names(who)]

    def card(self, who: Caller, name: str) -> dict[str, Any]:
        """One voice, and the state of its consents."""
        voice = self.find(who, name)
        details = voice.details()
        kept = ("language", "licence", "card", "recording", "warnings", "model")
        card = {key: details[key] for key in kept}
        card["recording"] = {
            n: v for n, v in card["recording"].items() if isinstance(v, int | float)
        }
        kind = self.names(who).get(voice.name, "shared")
        return {
            "id": voice.name,
            "name": voice.name,
            "kind": kind,
            **card,
            "consent": _state(voice),
        }

    def add(self, who: Caller, voice: Voice) -> None:
        """Register a voice: a caller's for its key, an operator's for everybody."""
        folder = self._own(who) if who.role == "caller" and who.id else self.folder
        if folder is None:
            raise Problem("unsupported", "this service keeps no voices")
        if voice.name in self.aliases or voice.name in {
            *builtin_names(),
            *_stems(self.folder),
            *_stems(folder),
        }:
            raise Problem("voice-exists", f"there is a voice named {voice.name!r} already")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        voice.save(folder / f"{voice.name}.safetensors")

    def delete(self, who: Caller, name: str) -> None:
        """Forget a voice: one's own, or, for operators, a shared one."""
        path = self._path(who, name)
        if path is None:
            raise Problem("voice-unknown", f"there is no voice of yours named {name!r:.80}")
        if path.parent == self.folder:
            who.need_role("operator")
        path.unlink(missing_ok=True)

    def _own(self, who: Caller) -> Path | None:
        return None if self.folder is None or not who.id else self.folder / PRIVATE / who.id

    def _path(self, who: Caller, name: str) -> Path | None:
        if not NAME.fullmatch(name):
            return None
        for folder in (self._own(who), self.folder):
            if folder is not None and (folder / f"{name}.safetensors").is_file():
                return folder / f"{name}.safetensors"
        return None


def check_name(name: str) -> str:
    """A name that a voice may have."""
    if not NAME.fullmatch(name):
        raise Problem("bad-request", "a voice's name has 1 to 64 letters, digits, '.', '-' or '_'")
    return name


def need_consent(voice: Voice, wanted: consent.Wanted) -> None:
    """Refuse the voice of a person without a valid record, whatever the owner's policy says."""
    with store.reading() as session:
        found = consent.check(session, consent.voice_id(voice), wanted)
    if (found is None and not consent.is_builtin(voice)) or (found and found.kind == "implied"):
        raise consent.Refused(
            "consent-missing", f"no consent record for the voice {voice.name!r}; give one first"
        )


def _state(voice: Voice) -> str:
    """`not needed`, `given` or `missing`."""
    if consent.is_builtin(voice):
        return "not needed"
    voice_id = consent.voice_id(voice)
    given = (c for c, revoked in consent.listed() if revoked is None and c.voice == voice_id)
    return "given" if any(content.kind != "implied" for content in given) else "missing"


def _stems(folder: Path | None) -> Iterator[str]:
    if folder is not None and folder.is_dir():
        yield from (path.stem for path in sorted(folder.glob("*.safetensors")))
