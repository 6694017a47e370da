"""First step: all tables, and triggers that let nobody change or delete a line of the audit log."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, String, Text

revision = "0001"
down_revision = None

SQLITE = (
    "CREATE TRIGGER audit_{0} BEFORE {0} ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
)
POSTGRES = (
    "CREATE FUNCTION audit_stays() RETURNS trigger AS $$ BEGIN "
    "RAISE EXCEPTION 'the audit log is append-only'; END $$ LANGUAGE plpgsql",
    "CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()",
)


def upgrade() -> None:
    """Make the tables."""
    _log_and_consents()
    _speech_and_keys()
    if op.get_bind().dialect.name == "postgresql":
        for statement in POSTGRES:
            op.execute(statement)
    else:
        for verb in ("UPDATE", "DELETE"):
            op.execute(SQLITE.format(verb))


def _log_and_consents() -> None:
    op.create_table(
        "audit",
        Column("position", Integer, primary_key=True, autoincrement=False),
        Column("time", Float, nullable=False),
        *(Column(name, String(size), nullable=False)
          for name, size in (("actor", 64), ("action", 32), ("subject", 64))),
        Column("details", Text, nullable=False),
        Column("previous", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
    )  # fmt: skip
    op.create_table(
        "consents",
        Column("id", String(32), primary_key=True),
        Column("voice", String(64), nullable=False, index=True),
        Column("kind", String(16), nullable=False),
        Column("content", Text, nullable=False),
        Column("key", String(64), nullable=False),
        Column("signature", String(128), nullable=False),
        Column("number", String(16), unique=True),
        Column("revoked", Float),
        Column("reason", Text, nullable=False),
    )
    op.create_table(
        "prompts",
        Column("number", String(16), primary_key=True),
        Column("language", String(8), nullable=False),
        Column("issued", Float, nullable=False),
        Column("used", Float),
    )


def _speech_and_keys() -> None:
    op.create_table(
        "spoken",
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("time", Float, nullable=False),
        Column("voice", String(64), nullable=False),
        Column("voice_name", Text, nullable=False),
        Column("model", String(64), nullable=False),
        Column("consent", String(32), nullable=False),
        Column("key", String(32), nullable=False),
        Column("seed", BigInteger, nullable=False),
        Column("text_hash", String(64), nullable=False),
        Column("characters", Integer, nullable=False),
        Column("state", String(16), nullable=False),
        Column("seconds", Float),
        Column("audio_hash", String(64)),
    )
    op.create_table(
        "keys",
        Column("id", String(16), primary_key=True),
        Column("name", Text, nullable=False),
        Column("hash", String(64), nullable=False),
        Column("role", String(16), nullable=False),
        Column("scopes", Text, nullable=False),
        Column("voices", Text, nullable=False),
        Column("purpose", String(16), nullable=False),
        Column("per_minute", Integer, nullable=False),
        Column("per_day", BigInteger, nullable=False),
        Column("made", Float, nullable=False),
        Column("expires", Float),
        Column("revoked", Float),
    )
    op.create_table(
        "used",
        Column("key", String(16), primary_key=True),
        Column("window", String(32), primary_key=True),
        Column("requests", Integer, nullable=False),
        Column("characters", BigInteger, nullable=False),
    )


def downgrade() -> None:
    """The log is never taken away."""
    raise NotImplementedError("the first step cannot be undone: the audit log is append-only")
