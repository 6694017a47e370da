"""The log finds every altered, removed and reordered line, and lets nobody change one."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray import trust
from voxray.commands import main
from voxray.trust import Refused, audit, store

pytestmark = pytest.mark.usefixtures("records_folder")


def fill(lines: int = 6) -> None:
    for number in range(lines):
        with store.writing() as session:
            audit.append(session, "owner", "tested", f"s-{number}", {"number": number})


def tamper(folder: Path, *statements: str) -> None:
    """As someone with the file, who takes the triggers away first."""
    store.forget()
    with sqlite3.connect(folder / "records.sqlite") as database:
        for verb in ("UPDATE", "DELETE"):
            database.execute(f"DROP TRIGGER audit_{verb}")
        for statement in statements:
            database.execute(statement)


def test_a_whole_log(records_folder: Path) -> None:
    assert audit.verify() == audit.Verdict(0, ())
    fill()
    assert audit.verify() == audit.Verdict(6, ())


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE audit SET details = '{}' WHERE position = 3"], "line 3 was altered"),
        (["UPDATE audit SET actor = 'x' WHERE position = 6"], "line 6 was altered"),
        (["UPDATE audit SET time = time + 1 WHERE position = 1"], "line 1 was altered"),
        (["DELETE FROM audit WHERE position = 4"], "line 4 is gone"),
        (["DELETE FROM audit WHERE position = 1"], "line 1 is gone"),
        (["DELETE FROM audit WHERE position >= 5"], "lines 5-6"),
        (["DELETE FROM audit"], "lines 1-6"),
        (
            [
                "UPDATE audit SET position = 99 WHERE position = 2",
                "UPDATE audit SET position = 2 WHERE position = 3",
                "UPDATE audit SET position = 3 WHERE position = 99",
            ],
            "does not follow",
        ),
    ],
)
def test_what_was_done_to_it_is_said(
    records_folder: Path, statements: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill()
    tamper(records_folder, *statements)
    assert any(said in fault for fault in audit.verify().faults)
    assert main(["trust", "verify"]) == 1
    assert said in capsys.readouterr().out


def test_a_rewritten_end_is_found(records_folder: Path) -> None:
    """Even with hashes that fit: the head was signed."""
    fill()
    tamper(records_folder, "UPDATE audit SET actor = 'x' WHERE position = 6")
    with store.reading() as session:
        row = session.get_one(audit.AuditRow, 6)
        right = audit.digest(row)
    store.forget()
    with sqlite3.connect(records_folder / "records.sqlite") as database:
        database.execute("UPDATE audit SET hash = ? WHERE position = 6", (right,))
    assert audit.verify().faults == ("line 6 is not the one once signed",)


def test_a_forged_head_is_found(records_folder: Path) -> None:
    fill()
    head = json.loads((records_folder / "head.json").read_text(encoding="utf-8"))
    (records_folder / "head.json").write_text(json.dumps({**head, "position": 3}), "utf-8")
    assert any("altered" in fault for fault in audit.verify().faults)
    with pytest.raises(Refused, match="records-altered"):
        fill(1)


def test_the_database_itself_refuses(records_folder: Path) -> None:
    fill()
    with sqlite3.connect(records_folder / "records.sqlite") as database:
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                database.execute(statement)


def test_what_fails_is_not_written(records_folder: Path) -> None:
    fill(2)
    with pytest.raises(RuntimeError), store.writing() as session:
        audit.append(session, "owner", "tested", "x", {})
        raise RuntimeError("in the middle")
    assert audit.verify() == audit.Verdict(2, ())


def test_two_processes_append(records_folder: Path) -> None:
    from threading import Thread

    fill(1)
    threads = [Thread(target=fill, args=(5,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert audit.verify() == audit.Verdict(16, ())


@settings(max_examples=20)
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=3))
def test_any_details_survive(details: dict[str, str]) -> None:
    row = audit.AuditRow(position=1, time=0.5, actor="a", action="b", subject="c",
                         details=json.dumps(details, sort_keys=True), previous=audit.START)  # fmt: skip
    first = audit.digest(row)
    row.details = json.dumps({**details, "x": 1}, sort_keys=True)
    assert audit.digest(row) != first


def test_the_place_can_be_chosen(tmp_path: Path) -> None:
    trust.use(tmp_path / "elsewhere", f"sqlite:///{tmp_path / 'my.sqlite'}")
    fill(1)
    assert (tmp_path / "my.sqlite").is_file() and (tmp_path / "elsewhere" / "owner.key").is_file()
    assert not (tmp_path / "elsewhere" / "records.sqlite").exists()
    assert oct((tmp_path / "elsewhere" / "owner.key").stat().st_mode)[-3:] == "600"
