"""A service on the tiny model, in this process, and keys for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import Open

from voxray.bundle import Bundle
from voxray.serve import Settings, create_app
from voxray.trust import store


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Records of this test's own."""
    from voxray import trust

    trust.use(tmp_path / "trust")
    yield tmp_path
    store.forget()


@pytest.fixture
def serve(tiny: Bundle, place: Path) -> Iterator[Open]:
    """Open services; they end with the test."""
    opened: list[TestClient] = []

    def open_one(**settings: Any) -> TestClient:
        chosen = Settings(voices=place / "voices", hosts=("testserver",), **settings)
        client = TestClient(create_app(chosen, {"tiny": tiny}), raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.__exit__(None, None, None)
