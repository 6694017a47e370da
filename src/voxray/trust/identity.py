"""The owner's secrets, made on first use: an Ed25519 key that signs, and the watermark's key.

Both are files for the owner alone (mode 600). Losing `mark.key` means that marks made with it can
no longer be read; leaking it, that they can be forged and rubbed out.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from . import place
from .errors import Refused

SIGNING, MARKING = "owner.key", "mark.key"
BYTES = 32


def _secret(name: str) -> bytes:
    try:
        path = place.current().file(name)
        if not path.exists():
            place.write_secret(path, secrets.token_bytes(BYTES))
        data = path.read_bytes()
    except OSError as error:
        raise Refused("records-unavailable", f"cannot keep the key {name}: {error}") from error
    if len(data) != BYTES:
        raise Refused("records-altered", f"{_named(path)} is damaged: restore it from a backup")
    return data


def _named(path: Path) -> str:
    return f"the key {path}"


def _private() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_secret(SIGNING))


def mark_key() -> bytes:
    """The watermark's secret [32]."""
    return _secret(MARKING)


def public_key() -> str:
    """The owner's public key, hex."""
    return _private().public_key().public_bytes_raw().hex()


def sign(data: bytes) -> str:
    """A signature, hex."""
    return _private().sign(data).hex()


def is_signed(data: bytes, signature: str, key: str) -> bool:
    """Whether `key` (public, hex) signed these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(signature), data
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def is_ours(data: bytes, signature: str) -> bool:
    """Whether the owner of this place signed these bytes."""
    return is_signed(data, signature, public_key())
