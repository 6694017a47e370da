"""Each trust test has records of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from voxray import trust
from voxray.trust import store


@pytest.fixture(autouse=True)
def records_folder(tmp_path: Path, _own_records: None) -> Iterator[Path]:
    folder = tmp_path / "records"
    trust.use(folder)
    yield folder
    store.forget()
