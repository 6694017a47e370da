"""Configs are frozen and strict, and survive JSON."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from voxray.config import GPTConfig


def test_unknown_keys_and_wrong_types_are_errors() -> None:
    with pytest.raises(ValidationError, match="widht"):
        GPTConfig(widht=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        GPTConfig(width="320")  # type: ignore[arg-type]


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GPTConfig().width = 4  # type: ignore[misc]


def test_round_trip_through_json() -> None:
    config = GPTConfig(guided_heads=((0, 1),))
    assert GPTConfig.model_validate(json.loads(config.model_dump_json())) == config
