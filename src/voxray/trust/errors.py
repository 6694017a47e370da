"""Why the gate says no: one line for people, a code that never changes for programs."""

from __future__ import annotations

CODES = frozenset(
    "consent-missing consent-expired consent-revoked consent-forged consent-replayed consent-scope "
    "consent-text consent-speaker key-unknown key-expired key-revoked key-scope key-voice key-use "
    "quota-rate quota-characters role-denied records-unavailable records-altered "
    "credentials-broken audio-unreadable policy-broken mark-unavailable".split()
)


class Refused(ValueError):
    """Nothing was spoken. `code` is one of `CODES`; the text ends with it."""

    def __init__(self, code: str, reason: str) -> None:
        if code not in CODES:
            raise KeyError(f"no such refusal: {code}")
        super().__init__(f"{reason} [{code}]")
        self.code = code
