"""The audit log: append-only, each line chained to the one before by a hash.

    hash = SHA-256(previous hash, position, time, actor, action, subject, details)

An altered line breaks its own hash, a removed or reordered one the chain. A cut tail is found by
`head.json`: position and hash of the last line, signed with the owner's key and kept beside the
database. Whoever holds that key as well as the database can forge both: see responsible-use.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from . import identity, place, store
from .errors import Refused
from .tables import AuditRow

START = "0" * 64


def append(
    session: Session, actor: str, action: str, subject: str, details: Mapping[str, Any]
) -> AuditRow:
    """Add a line, within a `store.writing()` transaction."""
    last = session.scalars(select(AuditRow).order_by(AuditRow.position.desc()).limit(1)).first()
    row = AuditRow(
        position=1 if last is None else last.position + 1,
        time=time.time(),
        actor=actor,
        action=action,
        subject=subject,
        details=json.dumps(details, ensure_ascii=False, sort_keys=True),
        previous=START if last is None else last.hash,
    )
    row.hash = digest(row)
    session.add(row)
    session.flush()
    _remember_head(session, row.position, row.hash)
    return row


def digest(row: AuditRow) -> str:
    """The hash that a line should have."""
    parts = [row.previous, row.position, row.time, row.actor, row.action, row.subject, row.details]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: no `faults` means the log is whole."""

    lines: int
    faults: tuple[str, ...]


def verify() -> Verdict:
    """Read the whole log; every altered, removed or reordered line is named."""
    with store.reading() as session:
        rows = list(session.scalars(select(AuditRow).order_by(AuditRow.position)))
    faults, previous, expected = [], START, 1
    for row in rows:
        if row.position != expected:
            missing = (
                f"{expected}" if row.position - expected == 1 else f"{expected}-{row.position - 1}"
            )
            faults.append(f"line {missing} is gone")
        elif row.previous != previous:
            faults.append(f"line {row.position} does not follow line {row.position - 1}")
        if digest(row) != row.hash:
            faults.append(f"line {row.position} was altered")
        previous, expected = row.hash, row.position + 1
    return Verdict(len(rows), (*faults, *_tail_faults({r.position: r.hash for r in rows})))


def _remember_head(session: Session, position: int, hashed: str) -> None:
    """Write the head when, and only when, the transaction commits."""
    first = "head" not in session.info
    session.info["head"] = (position, hashed)
    if first:
        event.listen(session, "after_commit", _write_head, once=True)


def _write_head(session: Session) -> None:
    position, hashed = session.info.pop("head")
    known = _read_head()
    if known is not None and known[0] >= position:
        return  # another process is further on
    signed = f"{position} {hashed}"
    head = {"position": position, "hash": hashed, "signature": identity.sign(signed.encode())}
    path = place.current().file(store.HEAD)
    part = path.with_name(f".{store.HEAD}.{secrets.token_hex(4)}.part")
    part.write_text(json.dumps(head), encoding="utf-8")
    os.replace(part, path)


def _read_head() -> tuple[int, str] | None:
    """Position and hash of the last line that this machine wrote."""
    path = place.current().folder / store.HEAD
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        position, hashed = int(head["position"]), str(head["hash"])
        if not identity.is_ours(f"{position} {hashed}".encode(), str(head["signature"])):
            raise ValueError("signature")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            "records-altered", f"{path} was altered: run `voxray trust verify`"
        ) from error
    return position, hashed


def _tail_faults(hashes: dict[int, str]) -> list[str]:
    try:
        head = _read_head()
    except Refused as error:
        return [str(error)]
    if head is None:
        return ["the signed head of the log is gone"] if hashes else []
    position, hashed = head
    if position not in hashes:
        last = max(hashes, default=0)
        return [f"the end of the log is gone: lines {last + 1}-{position}"]
    return [] if hashes[position] == hashed else [f"line {position} is not the one once signed"]
