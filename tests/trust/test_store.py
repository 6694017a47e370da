"""The database as several processes meet it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from voxray.trust import store

BEGIN = """
import sys
from sqlalchemy import text
from voxray.trust import place, store
place.use(sys.argv[1])
with store.writing() as session:
    session.execute(text("SELECT 1"))
"""


class Busy:
    """A connection that refuses the first times it is asked."""

    def __init__(self, refusals: int, words: str) -> None:
        self.refusals, self.words, self.asked = refusals, words, 0

    def execute(self, statement: str) -> None:
        self.asked += 1
        if self.asked <= self.refusals:
            raise sqlite3.OperationalError(self.words)


def test_a_lock_that_does_not_wait_is_asked_again() -> None:
    connection = Busy(2, "database is locked")
    store._write_ahead(connection)
    assert connection.asked == 3


def test_other_faults_are_not_waited_for() -> None:
    connection = Busy(1, "disk I/O error")
    with pytest.raises(sqlite3.OperationalError, match="disk"):
        store._write_ahead(connection)
    assert connection.asked == 1


def test_processes_may_begin_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BEGIN, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
