"""The owner's choices: frozen, strict, kept as `policy.json`; every change is on record.

`open` (one's own machine): a voice without consent is spoken, and that it was is recorded.
`required` (a service): no voice of a person speaks without a valid consent record.
"""

from __future__ import annotations

import os
import secrets
from typing import Literal

from pydantic import ValidationError

from ..config import Config
from . import place
from .errors import Refused

FILE = "policy.json"


class Policy(Config):
    """What is asked before, and done after, anything is said."""

    consent: Literal["open", "required"] = "open"
    purpose: Literal["personal", "research", "commercial"] = "personal"  # what this owner does
    watermark: bool = True
    public_mark: Literal["off", "perth"] = "off"  # a second mark that anyone can detect
    credentials: Literal["auto", "on", "off"] = "auto"  # auto: where `provenance` is installed


def load() -> Policy:
    """The policy in force; a damaged file stops everything."""
    path = place.current().folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Policy()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("policy-broken", f"cannot read {path}; nothing is said") from error
    try:
        return Policy.model_validate_json(text)
    except ValidationError as error:
        raise Refused("policy-broken", f"{path} is not a policy; mend or delete it") from error


def save(policy: Policy, actor: str = "owner") -> None:
    """Put a policy in force; the change is recorded first."""
    from . import audit, store

    before = load()
    path = place.current().file(FILE)
    part = path.with_name(f".{FILE}.{secrets.token_hex(4)}.part")
    changed = {
        name: value for name, value in policy.model_dump().items() if value != getattr(before, name)
    }
    with store.writing() as session:
        audit.append(session, actor, "policy-changed", "policy", changed)
        part.write_text(policy.model_dump_json(indent=1), encoding="utf-8")
        os.replace(part, path)
