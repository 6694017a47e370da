"""Keys: shown once, kept as hashes, ended at once; roles and quotas."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from voxray.trust import Refused, access, audit

pytestmark = pytest.mark.usefixtures("records_folder")


def refused(text: str) -> str:
    with pytest.raises(Refused) as caught:
        access.authenticate(text)
    return caught.value.code


def test_a_key_is_known_again_and_nothing_else_is(records_folder: Path) -> None:
    text, who = access.make_key("shop", scopes=["speak", "voices"], voices=["anna"], per_day=9)
    assert access.authenticate(text) == who and who.role == "caller"
    secret = text.rsplit("_", 1)[1] if "_" not in text.split("_", 2)[2] else text.split("_", 2)[2]
    assert secret.encode() not in (records_folder / "records.sqlite").read_bytes()
    for wrong in (
        "",
        "x",
        text[:-1],
        text + "x",
        "vxr__",
        f"vxr_{who.id}_",
        text.replace("vxr", "abc"),
    ):
        assert refused(wrong) == "key-unknown"


def test_ended_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    text, who = access.make_key("a", expires=now + 1000)
    access.authenticate(text)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now + 2000)
        assert refused(text) == "key-expired"
    text, who = access.make_key("b")
    access.revoke_key(who.id)
    assert refused(text) == "key-revoked"
    assert [key["name"] for key in access.listed()] == ["a", "b"]
    assert "hash" not in access.listed()[0]


def test_roles() -> None:
    _, caller = access.make_key("caller")
    _, operator = access.make_key("operator", role="operator", scopes=["speak", "manage"])
    _, owner = access.make_key("owner", role="owner", scopes=["manage"])
    with access.calling(caller), pytest.raises(Refused, match="key-scope"):
        access.make_key("mine")
    with access.calling(operator):
        access.make_key("theirs")
        access.revoke_key(caller.id)
        with pytest.raises(Refused, match="role-denied"):
            access.make_key("another", role="operator")
        with pytest.raises(Refused, match="role-denied"):
            access.revoke_key(owner.id)
    with access.calling(owner):
        access.revoke_key(operator.id)
    assert access.caller().role == "owner" and access.caller().id == ""


def test_wrong_grants_are_named() -> None:
    for wrong in ({"role": "king"}, {"scopes": ["fly"]}, {"scopes": []}, {"purpose": "fun"},
                  {"per_minute": -1}, {"expires": 1.0}):  # fmt: skip
        with pytest.raises(ValueError):
            access.make_key("x", **wrong)
    with pytest.raises(ValueError, match="no key"):
        access.revoke_key("none")


def test_everything_is_on_record() -> None:
    _, who = access.make_key("a")
    access.revoke_key(who.id)
    assert audit.verify() == audit.Verdict(2, ())


def test_callers_do_not_leak_between_threads() -> None:
    from threading import Thread

    _, who = access.make_key("a")
    seen: list[str] = []
    with access.calling(who):
        thread = Thread(target=lambda: seen.append(access.caller().id))
        thread.start()
        thread.join()
        assert access.caller() == who
    assert seen == [""]
