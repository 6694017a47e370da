"""The voices of a studio, and how a new one comes in: a recording, and the speaker's consent.

Built-in voices are nobody's. One's own lie in the user's folder, tuned ones (`tuned:NAME`) beside their
models. A new voice is kept only together with a consent: read aloud here and checked, or on the owner's
word that it was given in writing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine import default_voice, tts
from ..serve.auth import LOCAL
from ..serve.uploads import kept
from ..serve.voices import Voices, check_name, need_consent
from ..trust import Refused, access, agreement, consent, gate, reading
from ..trust import policy as policies
from ..trust.consent import Content
from ..trust.reading import Prompt
from ..voice import Voice, builtin_names
from .settings import Settings
from .strings import Fault
from .uploads import uploaded

if TYPE_CHECKING:
    from .actions import Studio

TUNED = "tuned:"
VOICE_FILE = "voice.safetensors"
NAME = re.compile(r"\w[\w.-]{0,63}")


class Cast:
    """Every voice by the name that the page gives it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.registered = Voices(settings.voices, {})

    def names(self) -> dict[str, str]:
        """Name -> `built in`, `own` or `tuned`."""
        found = {
            name: "built in" if kind == "built in" else "own"
            for name, kind in self.registered.names(LOCAL).items()
        }
        for path in sorted(self._settings.models.glob(f"*/{VOICE_FILE}")):
            if NAME.fullmatch(path.parent.name):
                found[TUNED + path.parent.name] = "tuned"
        return found

    def own(self) -> list[str]:
        """The names of one's own voices."""
        return [name for name, kind in self.names().items() if kind != "built in"]

    def find(self, name: str) -> tuple[Voice, Path | None]:
        """A voice and the model that it needs (None: the studio's)."""
        if not name.startswith(TUNED):
            return self.registered.find(LOCAL, name), None
        own = name.removeprefix(TUNED)
        folder = self._settings.models / own
        if not NAME.fullmatch(own) or not (folder / VOICE_FILE).is_file():
            raise Fault("voice-unknown", "voice-unknown", name=f"{name!r:.80}")
        return replace(Voice.load(folder / VOICE_FILE), name=own), folder

    def speaker(self, name: str, text: str) -> tuple[Voice, Path | None]:
        """A voice that may say a text now."""
        voice, model = self.find(name or default_voice(text))
        wanted = consent.Wanted(policies.load().purpose, gate.languages_of(text))
        need_consent(voice, wanted)
        return voice, model

    def state(self, name: str) -> str:
        """`not needed`, `given` or `missing`."""
        voice, _ = self.find(name)
        if consent.is_builtin(voice):
            return "not needed"
        return "given" if any(True for _ in self._consents(voice)) else "missing"

    def withdraw(self, name: str) -> int:
        """End every consent to a voice, at once; how many there were."""
        voice, _ = self.find(name)
        found = list(self._consents(voice))
        for content in found:
            consent.revoke(content.id, "withdrawn in the studio", LOCAL.actor)
        return len(found)

    def delete(self, name: str) -> None:
        """Forget one of one's own voices, and end the consents to it."""
        if name.startswith(TUNED):
            raise Fault("unsupported", "tuned-voice")
        if name in builtin_names():
            raise Fault("unsupported", "builtin-voice")
        self.withdraw(name)
        self.registered.delete(LOCAL, name)

    def _consents(self, voice: Voice) -> list[Content]:
        identifier = consent.voice_id(voice)
        return [
            content
            for content, revoked in consent.listed()
            if revoked is None and content.voice == identifier and content.kind != "implied"
        ]


@dataclass(frozen=True)
class NewVoice:
    """A recording that is to become a voice, and the consent to it."""

    name: str
    who: str  # an id of the speaker
    sample: str | Path | None
    kind: str = "read-aloud"  # or attested
    read: str | Path | None = None  # the recording of the sentence
    number: str = ""  # in that sentence
    agreed: bool = False  # the owner's word, of an attested one
    transcript: str = ""
    purposes: Sequence[str] = ("personal",)
    language: str = "en"  # of the agreement


def written(language: str, who: str, purposes: Sequence[str]) -> str:
    """The agreement's text."""
    return agreement.written(language, who.strip() or "…", purposes, ("en", "zh"), None)


def prompt(language: str) -> Prompt:
    """A sentence with a fresh number, good for half an hour."""
    with access.calling(LOCAL):
        return reading.prompt(language, LOCAL.actor)


def make_voice(studio: Studio, new: NewVoice) -> Content:
    """Keep a voice and the consent to it: both, or neither."""
    check_name(new.name)
    if new.name in studio.cast.names():
        raise Fault("voice-exists", "voice-exists", name=repr(new.name))
    sample = uploaded(studio.settings, new.sample, "voice")
    _check_consent(new)
    most = studio.settings.most_decoded
    with access.calling(LOCAL), kept(sample, most) as path, studio.models:
        models = tts.pipeline(studio.settings.model).models
        voice = Voice.from_file(path, new.transcript.strip() or None, name=new.name, model=models)
        if new.kind == "attested":
            return _add(studio, new, voice, path, None, {})
        asked = reading.find(new.number)
        read = uploaded(studio.settings, new.read, "sentence")
        with kept(read, most, "sentence") as second:
            checks = reading.check(
                asked, second, path, model=models, recogniser=reading.recogniser()
            )
            return _add(studio, new, voice, second, asked, checks)


def _check_consent(new: NewVoice) -> None:
    if not new.who.strip():
        raise Refused("consent-missing", "say whose voice it is: a name or an id of the speaker")
    if not new.purposes:
        raise Refused("consent-missing", "say what the voice may be used for")
    if new.kind == "attested" and not new.agreed:
        raise Refused(
            "consent-missing",
            "a new voice speaks only with consent: confirm that the speaker agreed in writing",
        )
    if new.kind != "attested" and not (new.read and new.number):
        raise Refused(
            "consent-missing",
            "a new voice speaks only with consent: ask for a sentence and have the speaker read it",
        )


def _add(
    studio: Studio,
    new: NewVoice,
    voice: Voice,
    recording: Path,
    asked: Prompt | None,
    checks: dict[str, str | float],
) -> Content:
    studio.cast.registered.add(LOCAL, voice)
    try:
        return consent.give(
            voice, new.who.strip(), kind=new.kind, recording=recording,
            read="" if asked is None else asked.sentence,
            number=None if asked is None else asked.number, purposes=list(new.purposes),
            agreement_language=new.language if asked is None else asked.language,
            checks=checks, actor=LOCAL.actor,
        )  # fmt: skip
    except ValueError:
        studio.cast.registered.delete(LOCAL, voice.name)
        raise
