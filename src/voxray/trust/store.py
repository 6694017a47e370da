"""The database: opened once a place, brought up to date, and every failure a clear refusal.

`writing()` holds the write lock from its first statement to its commit, so that two processes
cannot append to the audit log at once; `reading()` does not. A database that is locked, gone, full
or damaged is `Refused("records-unavailable")`: the gate then lets nothing out.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from . import place
from .errors import Refused

HEAD = "head.json"  # of the audit log
LATEST = "0001"  # of migrations/versions
LOCK_SECONDS = 2.0
_lock = RLock()
_engines: dict[str, Engine] = {}


@contextmanager
def writing() -> Iterator[Session]:
    """One transaction that may write; all of it happens, or nothing."""
    with _translated(), Session(_engine(), expire_on_commit=False) as session, session.begin():
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("LOCK TABLE audit IN EXCLUSIVE MODE"))
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """A session that only reads."""
    with _translated(), Session(_engine(), expire_on_commit=False) as session:
        session.connection(execution_options={"voxray_reads": True})
        yield session


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        raise Refused(
            "records-unavailable",
            f"the records in {_shown()} cannot be used ({' '.join(str(cause).split())}); "
            "nothing is said without a record",
        ) from error


def _shown() -> str:
    where = place.current()
    return where.database.rsplit("@", 1)[-1] or str(where.folder)


def _engine() -> Engine:
    where = place.current()
    with _lock:
        known = _engines.get(where.url)
        if known is None or not where.database:
            _check_file(where, opened=known is not None)
        if known is None:
            known = _open(where.url)
            _migrate(known)
            _engines[where.url] = known
        return known


def _check_file(where: place.Place, *, opened: bool) -> None:
    """SQLite makes a missing file anew; records that are gone must not go unnoticed."""
    if where.database and not where.url.startswith("sqlite"):
        return
    file = Path(make_url(where.url).database or "")
    if file.is_file():
        return
    if opened or (where.folder / HEAD).exists():
        raise OSError(f"{file.name} is gone; restore it, or move {where.folder} away to begin anew")
    where.file("")


def _open(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    made = create_engine(url, connect_args={"timeout": LOCK_SECONDS})

    @event.listens_for(made, "connect")
    def settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        _write_ahead(connection)
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(made, "begin")
    def begin(connection: Any) -> None:
        reads = connection.get_execution_options().get("voxray_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return made


def _write_ahead(connection: Any) -> None:
    """The first word to the file. SQLite may answer "locked" at once, without waiting, while another process
    opens or closes it: ask again.
    """
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.02)


def _migrate(engine: Engine) -> None:
    with engine.begin() as connection:
        if inspect(connection).has_table("alembic_version"):
            version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if version == LATEST:
                return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "voxray.trust:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def forget() -> None:
    """Close every database (tests; after a fork)."""
    with _lock:
        for engine in _engines.values():
            engine.dispose()
        _engines.clear()
