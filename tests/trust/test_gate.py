"""The gate: no sound without a record, and none once a consent has ended."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import say
from sqlalchemy import text
from sqlalchemy.orm import Session

from voxray import engine, trust
from voxray.bundle import Bundle
from voxray.engine import register, save, save_stream, tts
from voxray.trust import Refused, access, audit, consent, policy, records, store
from voxray.trust.policy import Policy
from voxray.voice import Voice

pytestmark = pytest.mark.usefixtures("records_folder")


def code_of(caught: pytest.ExceptionInfo[Refused]) -> str:
    assert "\n" not in str(caught.value) and caught.value.code in str(caught.value)
    return caught.value.code


def test_speech_is_marked_and_on_record(tiny: Bundle, voice: Voice) -> None:
    made = say(tiny, voice)
    found = records.latest(1)[0]
    assert made.record == found.id and found.state == "done" and found.seed == 1
    assert found.seconds == pytest.approx(made.seconds)
    assert made.report()["record"] == found.id
    policy.save(Policy(watermark=False))
    plain = say(tiny, voice)
    assert len(plain.audio) == len(made.audio) and not np.allclose(plain.audio, made.audio)
    assert audit.verify().faults == ()


def test_same_seed_and_number_give_the_same_samples_streamed_or_whole(
    tiny: Bundle, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the mark whole and streamed differ in the last bits: compare each with itself."""
    monkeypatch.setattr("voxray.trust.identity.mark_key", lambda: b"k" * 32)
    made = []
    for folder in ("a", "b"):
        trust.use(tmp_path / folder)
        with records.numbered(77):
            made.append(say(tiny, voice).audio)
        with records.numbered(78):
            stream = tts.stream("Hello. Good bye.", voice, model=tiny, seed=1)
            made.append(np.concatenate(list(stream)))
            assert stream.synthesis.record == "r-0000004e"
    assert np.array_equal(made[0], made[2]) and np.array_equal(made[1], made[3])


def test_a_number_is_used_once(tiny: Bundle, voice: Voice) -> None:
    with records.numbered(5):
        say(tiny, voice)
        with pytest.raises(ValueError, match="r-00000005"):
            say(tiny, voice)


def test_a_stream_is_marked_as_it_goes(tiny: Bundle, voice: Voice) -> None:
    """The same as marking the whole: compared by marking the unmarked stream afterwards."""
    from voxray.trust import identity
    from voxray.trust.watermark.embed import embed
    from voxray.trust.watermark.pattern import pattern

    text = "Hello there. Good bye."
    with records.numbered(9):
        marked = np.concatenate(list(tts.stream(text, voice, model=tiny, seed=3)))
    policy.save(Policy(watermark=False))
    plain = np.concatenate(list(tts.stream(text, voice, model=tiny, seed=3)))
    whole = embed(plain, 24_000, pattern(identity.mark_key()).carrying(9))
    assert np.array_equal(marked, whole)


def test_open_policy_tells_once_and_records(tiny: Bundle, voice: Voice) -> None:
    first, second = say(tiny, voice), say(tiny, voice)
    assert any("taken as your word" in line for line in first.warnings)
    assert not second.warnings
    ((content, revoked),) = consent.listed()
    assert content.kind == "implied" and content.voice == consent.voice_id(voice)
    assert revoked is None


def test_required_policy_wants_a_consent(tiny: Bundle, voice: Voice) -> None:
    say(tiny, voice)  # an implied one is on record now, and does not count
    policy.save(Policy(consent="required"))
    with pytest.raises(Refused) as caught:
        say(tiny, voice)
    assert code_of(caught) == "consent-missing"
    consent.give(voice, "speaker-1")
    assert say(tiny, voice).audio.any()


def test_revoking_stops_at_once(tiny: Bundle, voice: Voice) -> None:
    given = consent.give(voice, "speaker-1")
    running = tts.stream("One. Two. Three. Four.", voice, model=tiny, seed=1)
    assert len(next(running))
    consent.revoke(given.id, "changed my mind")
    with pytest.raises(Refused) as caught:
        list(running)
    assert code_of(caught) == "consent-revoked"
    with pytest.raises(Refused) as caught:
        say(tiny, voice)
    assert code_of(caught) == "consent-revoked"
    assert records.latest(1)[0].state == "refused"


def test_another_process_revokes(tiny: Bundle, voice: Voice, records_folder: Path) -> None:
    """As the owner does at the command line while a server runs: the next chunk is not handed out."""
    given = consent.give(voice, "speaker-1")
    running = tts.stream("One. Two. Three. Four.", voice, model=tiny, seed=1)
    assert len(next(running))
    program = (
        "import sys; from voxray import trust; from voxray.trust import consent; "
        "trust.use(sys.argv[1]); consent.revoke(sys.argv[2], 'asked to')"
    )
    subprocess.run([sys.executable, "-c", program, str(records_folder), given.id], check=True)
    with pytest.raises(Refused) as caught:
        list(running)
    assert code_of(caught) == "consent-revoked"


def test_expiry_stops_what_is_being_said(
    tiny: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    consent.give(voice, "speaker-1", expires=now + 1000)
    running = tts.stream("One. Two. Three. Four.", voice, model=tiny, seed=1)
    assert len(next(running))
    monkeypatch.setattr(time, "time", lambda: now + 2000)
    with pytest.raises(Refused) as caught:
        list(running)
    assert code_of(caught) == "consent-expired"
    assert records.latest(1)[0].state == "refused"


def test_revoking_an_explicit_consent_does_not_fall_back_on_silence(
    tiny: Bundle, voice: Voice
) -> None:
    say(tiny, voice)
    consent.revoke(consent.give(voice, "speaker-1").id)
    with pytest.raises(Refused, match="revoked"):
        say(tiny, voice)


def test_revoking_between_making_and_handing_out(tiny: Bundle, voice: Voice) -> None:
    given = consent.give(voice, "speaker-1")
    remove = register(before=lambda request: consent.revoke(given.id))
    try:
        engine._hooks.sort(key=lambda hook: hook.chunk is None)  # behind trust
        with pytest.raises(Refused, match="consent-revoked"):
            say(tiny, voice)
    finally:
        remove()


def test_a_revoked_stream_leaves_no_file(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    given = consent.give(voice, "speaker-1")
    running = tts.stream("One. Two. Three. Four.", voice, model=tiny, seed=1)
    with pytest.raises(Refused):
        save_stream(running, tmp_path / "x.wav", lambda done: consent.revoke(given.id))
    assert not (tmp_path / "x.wav").exists() and not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize(
    ("scope", "text", "code"),
    [
        ({"languages": ["zh"]}, "Hello.", "consent-scope"),
        ({"languages": ["en"]}, "你好。", "consent-scope"),
        ({"purposes": ["research"]}, "Hello.", "consent-scope"),
        ({"expires": time.time() + 10_000}, "Hello.", "consent-expired"),
    ],
)
def test_scope(
    tiny: Bundle, voice: Voice, scope: dict, text: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent.give(voice, "speaker-1", **scope)
    later = time.time() + (20_000 if "expires" in scope else 0)
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Refused) as caught:
        say(tiny, voice, text)
    assert code_of(caught) == code


def test_the_model_is_not_asked_when_refused(
    tiny: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxray.pipeline import Pipeline

    called: list[str] = []
    monkeypatch.setattr(Pipeline, "synthesise", lambda *a, **k: called.append("spoken"))
    policy.save(Policy(consent="required"))
    with pytest.raises(Refused):
        say(tiny, voice)
    assert not called


def broken(folder: Path, how: str) -> sqlite3.Connection | None:
    database = folder / "records.sqlite"
    if how == "gone":
        store.forget()
        for file in folder.glob("records.sqlite*"):
            file.unlink()
    if how == "damaged":
        store.forget()
        for file in folder.glob("records.sqlite-*"):
            file.unlink()
        database.write_bytes(b"not a database, by any means" * 200)
    if how == "policy":
        (folder / "policy.json").write_text("{", encoding="utf-8")
    if how == "key":
        (folder / "owner.key").write_bytes(b"short")
    if how == "locked":
        held = sqlite3.connect(database, isolation_level=None)
        held.execute("BEGIN EXCLUSIVE")
        return held
    return None


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("gone", "records-unavailable"),
        ("damaged", "records-unavailable"),
        ("locked", "records-unavailable"),
        ("policy", "policy-broken"),
        ("key", "records-altered"),
    ],
)
def test_without_records_nothing_is_said(
    tiny: Bundle, voice: Voice, records_folder: Path, how: str, code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.05)
    say(tiny, voice)
    held = broken(records_folder, how)
    with pytest.raises(Refused) as caught:
        say(tiny, voice)
    assert code_of(caught) == code
    if held is not None:
        held.close()


def test_records_that_fail_in_the_middle_keep_the_speech_back(
    tiny: Bundle, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "finish", full)
    with pytest.raises(Refused) as caught:
        say(tiny, voice)
    assert code_of(caught) == "records-unavailable"
    with pytest.raises(Refused):
        save_stream(tts.stream("Hello.", voice, model=tiny), tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.parametrize("how", ["gone", "locked", "full"])
def test_a_database_that_breaks_between_beginning_and_finishing(
    tiny: Bundle, voice: Voice, records_folder: Path, tmp_path: Path, how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The record is begun, the sound is made, then the database fails: the sound stays here."""
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.05)
    say(tiny, voice)
    lines = len(records.latest(100))
    held: list[sqlite3.Connection | None] = []
    remove = register(before=lambda request: held.append(_fail(records_folder, how, monkeypatch)))
    try:
        engine._hooks.sort(key=lambda hook: hook.chunk is None)  # behind trust
        with pytest.raises(Refused) as caught:
            save(say(tiny, voice), tmp_path / "x.wav")
        assert code_of(caught) == "records-unavailable"
        assert not (tmp_path / "x.wav").exists()
    finally:
        remove()
        for connection in filter(None, held):
            connection.close()
    if (
        how != "gone"
    ):  # usable again: the request is on record as begun, and nothing is half-written
        monkeypatch.undo()
        trust.use(records_folder)
        assert records.latest(1)[0].state == "begun" and len(records.latest(100)) == lines + 1
        assert audit.verify().faults == ()


def _fail(folder: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection | None:
    if how != "full":
        return broken(folder, how)
    real = audit.append

    def full(session: Session, *given: Any) -> None:  # SQLite's own refusal: no page is left
        pages = session.execute(text("PRAGMA page_count")).scalar()
        session.execute(text(f"PRAGMA max_page_count={pages}"))
        real(session, "owner", "x" * 64, "y", {"much": "z" * 500_000})

    monkeypatch.setattr(audit, "append", full)
    return None


def test_built_in_voices_need_no_consent(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    policy.save(Policy(consent="required"))
    made = say(tiny, Voice.builtin("nova"))
    assert made.record and not any("consent" in line for line in made.warnings)
    assert records.latest(1)[0].consent == ""


def test_a_voice_that_only_has_a_built_in_name_does(tiny: Bundle, voice: Voice) -> None:
    from dataclasses import replace

    policy.save(Policy(consent="required"))
    with pytest.raises(Refused, match="consent-missing"):
        say(tiny, replace(voice, name="nova"))


def test_callers(tiny: Bundle, voice: Voice) -> None:
    _, who = access.make_key("shop", voices=["nobody"], per_minute=2, per_day=20)
    with access.calling(who):
        say(tiny, voice)
        say(tiny, voice)
        with pytest.raises(Refused, match="quota-rate"):
            say(tiny, voice)
    assert records.latest(1)[0].key == who.id
    _, other = access.make_key("other", voices=["somebody"])
    with access.calling(other), pytest.raises(Refused, match="key-voice"):
        say(tiny, voice)
    _, third = access.make_key("third", scopes=["voices"])
    with access.calling(third), pytest.raises(Refused, match="key-scope"):
        say(tiny, voice)
    _, fourth = access.make_key("fourth", purpose="commercial")
    consent.give(voice, "speaker-1")
    with access.calling(fourth), pytest.raises(Refused, match="consent-scope"):
        say(tiny, voice)
    _, fifth = access.make_key("fifth", per_day=8)
    with access.calling(fifth):
        say(tiny, voice)
        with pytest.raises(Refused, match="quota-characters"):
            say(tiny, voice)


def test_a_refusal_is_on_record(tiny: Bundle, voice: Voice) -> None:
    policy.save(Policy(consent="required"))
    with pytest.raises(Refused):
        say(tiny, voice)
    from sqlalchemy import select

    from voxray.trust.tables import AuditRow

    with store.reading() as session:
        last = session.scalars(select(AuditRow).order_by(AuditRow.position.desc())).first()
    assert last is not None and last.action == "refused" and "consent-missing" in last.details


def test_saving_marks_files_with_credentials(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    from voxray.trust import credentials

    made = say(tiny, voice)
    for suffix in (".wav", ".mp3", ".flac"):
        save(made, tmp_path / f"x{suffix}")
        claim = credentials.read(tmp_path / f"x{suffix}")
        assert claim is not None and claim.ours and claim.made_by_ai and not claim.broken
        named = {name: claim.details[name] for name in ("record", "seed", "model", "model_hash")}
        assert named == {"record": made.record, "seed": 1, "model": made.model, "model_hash": ""}
        assert claim.details["voice"] == consent.voice_id(voice) and claim.details["consent"]
    policy.save(Policy(credentials="off"))
    save(made, tmp_path / "y.wav")
    assert credentials.read(tmp_path / "y.wav") is None


def test_credentials_that_cannot_be_made_leave_no_file(
    tiny: Bundle, voice: Voice, records_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from voxray.trust import certificate, credentials

    policy.save(Policy(credentials="on"))
    made = say(tiny, voice)
    with monkeypatch.context() as lacking:
        lacking.setattr(credentials, "installed", lambda: False)
        with pytest.raises(Refused) as caught:
            save(made, tmp_path / "x.wav")
    assert code_of(caught) == "credentials-broken" and not list(tmp_path.glob("*x.wav*"))
    pytest.importorskip("c2pa")
    certificate.certificate()
    (records_folder / certificate.KEY).write_text("no key at all", encoding="ascii")
    with pytest.raises(Refused) as caught:
        save(made, tmp_path / "x.wav")
    assert code_of(caught) == "credentials-broken" and not list(tmp_path.glob("*x.wav*"))


def test_speech_names_the_weights_it_came_from(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model", half=False)
    made = say(Bundle.load(tmp_path / "model"), voice)
    (weights,) = (tmp_path / "model").glob("*.safetensors")
    assert made.model_hash == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert say(tiny, voice).model_hash == ""
