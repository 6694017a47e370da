"""What is on record: consents, syntheses, keys, their use, prompts, and the audit log.

Times are UTC seconds since 1970 (float); lists and scopes are JSON text. The audit log's rows are
chained by hashes (`audit`); triggers keep it append-only.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    """Base of all tables; the migrations make them."""


class AuditRow(Table):
    """One line of the log."""

    __tablename__ = "audit"
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[float]
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(64))
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class ConsentRow(Table):
    """A consent: `content` is the signed JSON; the other columns are read from it, or added later."""

    __tablename__ = "consents"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    voice: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(16))  # implied, attested, read-aloud
    content: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(String(64))  # public, hex
    signature: Mapped[str] = mapped_column(String(128))
    number: Mapped[str | None] = mapped_column(String(16), unique=True)  # the prompt's, read aloud
    revoked: Mapped[float | None]
    reason: Mapped[str] = mapped_column(Text, default="")


class PromptRow(Table):
    """A number that was handed out to be read aloud, once."""

    __tablename__ = "prompts"
    number: Mapped[str] = mapped_column(String(16), primary_key=True)
    language: Mapped[str] = mapped_column(String(8))
    issued: Mapped[float]
    used: Mapped[float | None]


class SpokenRow(Table):
    """One synthesis. `number` is what its watermark says."""

    __tablename__ = "spoken"
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    time: Mapped[float]
    voice: Mapped[str] = mapped_column(String(64))
    voice_name: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(64))
    consent: Mapped[str] = mapped_column(String(32))  # empty: a built-in voice
    key: Mapped[str] = mapped_column(String(32))  # of the caller; empty: the owner
    seed: Mapped[int] = mapped_column(BigInteger)
    text_hash: Mapped[str] = mapped_column(String(64))
    characters: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))  # begun, done, refused
    seconds: Mapped[float | None]
    audio_hash: Mapped[str | None] = mapped_column(String(64))


class KeyRow(Table):
    """An API key: only its hash is kept."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[str] = mapped_column(Text)
    voices: Mapped[str] = mapped_column(Text)  # names; empty list: every one
    purpose: Mapped[str] = mapped_column(String(16))
    per_minute: Mapped[int]  # requests; 0: no limit
    per_day: Mapped[int] = mapped_column(BigInteger)  # characters; 0: no limit
    made: Mapped[float]
    expires: Mapped[float | None]
    revoked: Mapped[float | None]


class UseRow(Table):
    """How much of its quota a key has used in a window (`minute:N`, `day:N`)."""

    __tablename__ = "used"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    window: Mapped[str] = mapped_column(String(32), primary_key=True)
    requests: Mapped[int]
    characters: Mapped[int] = mapped_column(BigInteger)
