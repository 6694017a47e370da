"""What a verification can find, sentence by sentence: stable codes, the English words, and the figures.

    found = Line.of("mark-found", chance="1e-09"); found == "spoken by …"; found.code, found.values

A `Line` is its English sentence, so that files, logs and callers print it as it is; a page in another
language says the same by its code (`voxray.studio.strings`). Codes never change.
"""

from __future__ import annotations

SAID = {  # code -> the sentence
    "credentials-none": "no Content Credentials in the file (they are lost when it is re-coded)",
    "credentials-broken": "the Content Credentials are broken: {why}",
    "credentials-worthless": "what broken credentials say counts for nothing",
    "credentials-ours": "Content Credentials signed by this installation say: made by AI",
    "credentials-others": "Content Credentials signed by {signer} say: {title}; whether to trust the signer is up to you",
    "mark-short": "{seconds} s is too short for a watermark",
    "mark-none": "no watermark of this installation's key was found; "
    "the sound may still be synthetic, by others or with the mark destroyed",
    "mark-found": "spoken by this installation of voxray: its watermark is there "
    "(by accident in at most {chance} of unmarked sounds)",
    "public-mark": "made by AI: the public mark (Perth) is there; other tools put it in, too",
    "number-unread": "the record's number could not be read; a longer piece may help",
    "number-half": "only half of the record's number could be read: {count} records end in it",
    "record-key": "record {id}: voice {voice}, {when}, consent {consent}, key {caller}",
    "record-owner": "record {id}: voice {voice}, {when}, consent {consent}, by the owner",
    "samples-same": "every sample is as recorded in {id}",
    "records-differ": "watermark and credentials name different records",
}
MISSING = {  # what stands in a sentence for a value that is not there
    "consent": "none",
    "signer": "an unknown signer",
    "title": "made by AI",
}


class Line(str):
    """A sentence that knows what it says: `code` and `values` ("" where there is no such thing)."""

    code: str
    values: dict[str, str]

    @staticmethod
    def of(code: str, **values: object) -> Line:
        """The sentence of a code."""
        known = {name: str(value) for name, value in values.items()}
        shown = {name: value or MISSING.get(name, "") for name, value in known.items()}
        line = Line(SAID[code].format(**shown))
        line.code, line.values = code, known
        return line
