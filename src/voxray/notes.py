"""What a user is to be told beside the speech: stable codes, the English words, and the figures.

    note = Note.of("cut-off"); note == "a sentence did not come …"; note.code, note.values

A `Note` is its English sentence, so that files, logs and callers print it as it is; a page in another
language says the same by its code (`voxray.studio.strings`). Codes never change.
"""

from __future__ import annotations

SAID = {  # code -> the sentence; {words}: some of the text, or `PAUSE`
    "held-redrawn": "{words} was held for too long and drawn again",
    "skipped-redrawn": "{words} was passed over and drawn again",
    "held": "{words} was held for too long; new draws did not help",
    "skipped": "{words} was passed over; new draws did not help",
    "cut-off": "a sentence did not come to its end and was cut off",
    "unspoken": "left out characters of a script that is not spoken: {characters}",
    "front-end": "the text front end differs from the model's; `voxray text check` shows where",
    "front-end-voice": "the text front end differs from the one that made the voice {voice}",
    "other-model": "the voice {voice} was made with {theirs}, not with {ours}",
    "concept-memory": "the concept {concept} moves the speaker vector alone: what the voice {voice} remembers of "
    "its reference (frames that are looked up, fine detail that is copied) stays as it is and holds the "
    "timbre back",
    "implied": "no consent record for the voice {voice}: using it is taken as your word "
    "that the speaker agreed, and recorded as {id}",
}
PAUSE = "a pause"  # where no word is read


def of_text(warning: str) -> str:
    """A warning of the text front end as a note. Its rules name no codes: they are part of its fingerprint."""
    start, _ = SAID["unspoken"].split("{characters}")
    if not warning.startswith(start):
        return warning
    return Note.of("unspoken", characters=warning.removeprefix(start))


class Note(str):
    """A sentence that knows what it says: `code`, and its figures in `values`."""

    code: str
    values: dict[str, str]

    @staticmethod
    def of(code: str, **values: object) -> Note:
        """The sentence of a code."""
        known = {name: str(value) for name, value in values.items()}
        note = Note(SAID[code].format(**known))
        note.code, note.values = code, known
        return note
