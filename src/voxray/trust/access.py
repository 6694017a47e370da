"""API keys: who may ask for what, how often and how much. The service and scripts stand on this.

    text, key = make_key("shop", scopes=("speak",), per_day=100_000)   # `text` is shown once
    with calling(authenticate(text)): tts("Hello.", voice)             # the gate checks the rest

Roles: `owner` may do everything, `operator` may manage voices, consents and callers' keys, `caller`
may use what its scopes name. Without `calling` the owner speaks, on their own machine.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit, store
from .consent import PURPOSES
from .errors import Refused
from .tables import KeyRow, UseRow

PREFIX = "vxr"
ROLES = ("caller", "operator", "owner")
SCOPES = ("speak", "convert", "clone", "voices", "verify", "manage")
MINUTE, DAY = 60, 86_400


@dataclass(frozen=True)
class Caller:
    """Who asks. `id` is empty for the owner at their own machine."""

    id: str = ""
    name: str = "owner"
    role: str = "owner"
    scopes: tuple[str, ...] = SCOPES
    voices: tuple[str, ...] = ()  # empty: every one
    purpose: str = ""  # empty: the policy's
    per_minute: int = 0
    per_day: int = 0

    @property
    def actor(self) -> str:
        """The name in the audit log."""
        return self.id or "owner"

    def need(self, scope: str) -> None:
        """Refuse what the key does not name."""
        if scope not in self.scopes:
            raise Refused("key-scope", f"the key {self.id} may not {scope}")

    def need_role(self, role: str) -> None:
        """Refuse what a lower role may not do."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Refused("role-denied", f"this needs the role {role}; the key is a {self.role}'s")

    def need_voice(self, name: str) -> None:
        """Refuse voices that the key does not name."""
        if self.voices and name not in self.voices:
            raise Refused("key-voice", f"the key {self.id} may not use the voice {name!r}")


_caller: ContextVar[Caller | None] = ContextVar("voxray_caller", default=None)


def caller() -> Caller:
    """Who asks, here and now."""
    return _caller.get() or Caller()


@contextmanager
def calling(who: Caller) -> Iterator[Caller]:
    """Within, everything is asked for by `who`."""
    token = _caller.set(who)
    try:
        yield who
    finally:
        _caller.reset(token)


def make_key(
    name: str,
    *,
    role: str = "caller",
    scopes: Sequence[str] = ("speak",),
    voices: Sequence[str] = (),
    purpose: str = "personal",
    per_minute: int = 0,
    per_day: int = 0,
    expires: float | None = None,
) -> tuple[str, Caller]:
    """A new key: its text, to be shown once, and what it allows. Only its hash is kept."""
    _check_grant(role, scopes, purpose, per_minute, per_day, expires)
    maker = caller()
    maker.need("manage")
    maker.need_role("operator" if role == "caller" else "owner")
    identifier, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
    row = KeyRow(
        id=identifier, name=name, hash=_hash(secret), role=role, scopes=json.dumps(list(scopes)),
        voices=json.dumps(list(voices), ensure_ascii=False), purpose=purpose,
        per_minute=per_minute, per_day=per_day, made=time.time(), expires=expires, revoked=None,
    )  # fmt: skip
    with store.writing() as session:
        session.add(row)
        session.flush()
        details = {"name": name, "role": role, "scopes": list(scopes), "purpose": purpose}
        audit.append(session, maker.actor, "key-made", identifier, details)
    return f"{PREFIX}_{identifier}_{secret}", _caller_of(row)


def authenticate(text: str) -> Caller:
    """The caller behind a key's text, or a refusal. Unknown ids take as long as wrong secrets."""
    prefix, _, rest = text.strip().partition("_")
    identifier, _, secret = rest.partition("_")
    with store.reading() as session:
        row = session.get(KeyRow, identifier) if prefix == PREFIX and identifier else None
        known = hmac.compare_digest(_hash(secret), row.hash if row else _hash(""))
    if row is None or not known:
        raise Refused("key-unknown", "no such key")
    _in_force(row)
    return _caller_of(row)


def revoke_key(identifier: str) -> None:
    """End a key at once."""
    maker = caller()
    maker.need("manage")
    with store.writing() as session:
        row = session.get(KeyRow, identifier)
        if row is None:
            raise ValueError(f"no key {identifier!r}; `voxray trust keys` lists them")
        maker.need_role("operator" if row.role == "caller" else "owner")
        if row.revoked is None:
            row.revoked = time.time()
            audit.append(session, maker.actor, "key-revoked", identifier, {})


def listed() -> list[dict[str, object]]:
    """All keys, without their secrets."""
    with store.reading() as session:
        rows = list(session.scalars(select(KeyRow).order_by(KeyRow.made)))
    return [
        {
            "id": row.id, "name": row.name, "role": row.role, "scopes": json.loads(row.scopes),
            "voices": json.loads(row.voices), "purpose": row.purpose,
            "per_minute": row.per_minute, "per_day": row.per_day,
            "expires": row.expires, "revoked": row.revoked,
        }
        for row in rows
    ]  # fmt: skip


def spend(session: Session, who: Caller, characters: int) -> None:
    """Book a request against a key's quotas, or refuse; within the gate's transaction."""
    if not who.id:
        return
    row = session.get(KeyRow, who.id)
    if row is None:
        raise Refused("key-unknown", "no such key")
    _in_force(row)
    now = int(time.time())
    minute = _use(session, who.id, f"minute:{now // MINUTE}")
    today = _use(session, who.id, f"day:{now // DAY}")
    if row.per_minute and minute.requests >= row.per_minute:
        raise Refused("quota-rate", f"{row.per_minute} requests a minute are used up")
    if row.per_day and today.characters + characters > row.per_day:
        left = max(0, row.per_day - today.characters)
        raise Refused("quota-characters", f"{characters} characters asked, {left} left for today")
    for used in (minute, today):
        used.requests += 1
        used.characters += characters


def _use(session: Session, key: str, window: str) -> UseRow:
    row = session.get(UseRow, (key, window))
    if row is None:
        row = UseRow(key=key, window=window, requests=0, characters=0)
        session.add(row)
    return row


def _in_force(row: KeyRow) -> None:
    if row.revoked is not None:
        raise Refused("key-revoked", f"the key {row.id} was revoked")
    if row.expires is not None and time.time() >= row.expires:
        raise Refused("key-expired", f"the key {row.id} has expired")


def _hash(secret: str) -> str:
    """Secrets are 24 random bytes: no slow hash is needed to keep them from being guessed."""
    return hashlib.sha256(f"{PREFIX}:{secret}".encode()).hexdigest()


def _caller_of(row: KeyRow) -> Caller:
    return Caller(
        row.id, row.name, row.role, tuple(json.loads(row.scopes)), tuple(json.loads(row.voices)),
        row.purpose, row.per_minute, row.per_day,
    )  # fmt: skip


def _check_grant(
    role: str,
    scopes: Sequence[str],
    purpose: str,
    per_minute: int,
    per_day: int,
    expires: float | None,
) -> None:
    for name, given, known in (
        ("role", (role,), ROLES),
        ("scopes", scopes, SCOPES),
        ("purpose", (purpose,), PURPOSES),
    ):
        unknown = [item for item in given if item not in known]
        if unknown or not given:
            raise ValueError(f"{name}: {', '.join(known)}, not {', '.join(unknown) or 'nothing'}")
    if per_minute < 0 or per_day < 0:
        raise ValueError("quotas are 0 (no limit) or more")
    if expires is not None and expires <= time.time():
        raise ValueError("expires lies in the past")
