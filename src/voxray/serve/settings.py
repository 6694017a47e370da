"""What the owner of a service chooses: frozen and strict. Times are seconds, sizes are bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..config import Config

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORT = 9880  # what clients of api_v2 expect


class Settings(Config):
    """A service."""

    voices: Path | None = None  # folder of registered voices; None: built-in ones alone
    aliases: dict[str, str] = {}  # what clients call a voice or a model -> its registered name
    consent: Literal["required", "policy"] = "required"  # policy: what the owner's policy says
    keys: Literal["required", "local"] = "required"  # local: who comes from this machine needs none
    api_v2: bool = False  # the compatibility layer
    open_metrics: bool = False  # /metrics without a key
    hosts: tuple[str, ...] = LOOPBACK  # names in the Host header; "*": any
    origins: tuple[str, ...] = ()  # web pages that may call; none by default
    fetch: tuple[str, ...] = ()  # places that a recording may be fetched from; none by default

    workers: int = Field(default=2, ge=1, le=64)  # threads: one makes tokens while another sounds
    most_active: int = Field(default=8, ge=1)  # requests that are spoken in turns
    most_requests: int = Field(default=64, ge=1)  # with those that wait; then 429
    most_per_key: int = Field(default=16, ge=1)
    ahead_seconds: float = Field(default=30.0, gt=0)  # of sound kept for a slow reader
    slow_reader: float = Field(
        default=60.0, gt=0
    )  # a reader that takes nothing for so long is gone
    heavy_per_minute: int = Field(default=30, ge=1)  # uploads, verifications, explanations of a key
    guesses_per_minute: int = Field(default=10, ge=1)  # wrong keys from one address

    most_characters: int = Field(default=20_000, ge=1)
    most_json: int = Field(default=1 << 20, ge=1)
    most_upload: int = Field(default=25 << 20, ge=1)
    most_decoded: float = Field(default=600.0, gt=0)  # seconds of sound in an upload
    body_timeout: float = Field(default=30.0, gt=0)  # between two pieces of a request's body
