"""The same records in PostgreSQL: a server of one's own where its programs are installed.

`VOXRAY_TEST_DATABASE` names a running one instead (an empty database, as a SQLAlchemy URL). Run:
`.venv/bin/pytest -m slow tests/trust/test_postgres.py` (needs `pip install -e '.[postgres]'`).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from helpers import say
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from voxray import trust
from voxray.bundle import Bundle
from voxray.trust import Refused, access, audit, consent, records, store
from voxray.voice import Voice

pytestmark = [pytest.mark.slow, pytest.mark.chosen]


def program(name: str) -> str:
    found = [shutil.which(name), *map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    return next((path for path in found if path), "")


def run(*command: str) -> None:
    """As somebody who is not root: PostgreSQL refuses to run as root."""
    user = "postgres" if os.geteuid() == 0 else None
    subprocess.run(command, check=True, capture_output=True, user=user, cwd="/", timeout=120)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("psycopg")
    given = os.environ.get("VOXRAY_TEST_DATABASE")
    if given:
        yield given
        return
    if not (program("initdb") and program("pg_ctl")):
        pytest.skip("PostgreSQL is not installed, and VOXRAY_TEST_DATABASE is not set")
    folder = Path(tempfile.mkdtemp(prefix="voxray-pg-"))
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("root cannot run PostgreSQL, and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data = str(folder / "data")
    run(program("initdb"), "-D", data, "-U", "voxray", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run(program("pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql+psycopg://voxray@/postgres?host={folder}"
    finally:
        store.forget()
        run(program("pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def place(server: str, tmp_path_factory: pytest.TempPathFactory, _own_records: None) -> None:
    trust.use(tmp_path_factory.getbasetemp() / "postgres", server)


def test_a_whole_case(tiny: Bundle, voice: Voice) -> None:
    given = consent.give(voice, "speaker-1")
    _, who = access.make_key("shop", per_minute=1)
    with access.calling(who):
        made = say(tiny, voice)
        with pytest.raises(Refused, match="quota-rate"):
            say(tiny, voice)
    found = records.find(int(made.record.removeprefix("r-"), 16))
    assert found is not None and found.consent == given.id and found.state == "done"
    assert records.ending_in(found.number & 0xFFFF)[0].id == made.record
    consent.revoke(given.id)
    with pytest.raises(Refused, match="consent-revoked"):
        say(tiny, voice)
    assert audit.verify().faults == ()


def test_appending_at_once() -> None:
    def fill() -> None:
        for number in range(5):
            with store.writing() as session:
                audit.append(session, "owner", "tested", f"s-{number}", {})

    before = audit.verify().lines
    threads = [Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert audit.verify() == audit.Verdict(before + 20, ())


def test_nobody_changes_a_line() -> None:
    with store.writing() as session:
        audit.append(session, "owner", "tested", "s", {})
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises((Refused, SQLAlchemyError)), store.writing() as session:
            session.execute(text(statement))
    assert audit.verify().faults == ()


def test_a_server_that_is_gone(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    trust.use(tmp_path / "none", "postgresql+psycopg://voxray@/postgres?host=/nowhere")
    with pytest.raises(Refused) as caught:
        say(tiny, voice)
    assert caught.value.code == "records-unavailable"
