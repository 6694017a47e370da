"""`voxray trust …`: policy, consents, keys, records, and the audit log's health."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

import typer

app = typer.Typer(help="Consent, access and records.", no_args_is_help=True)
JSON = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
DAY = 86_400.0


@app.command()
def verify(as_json: JSON = False) -> None:
    """Read the audit log: is any line altered, removed or moved?"""
    from ..trust import audit

    verdict = audit.verify()
    if as_json:
        _json({"lines": verdict.lines, "faults": list(verdict.faults)})
    else:
        state = "whole" if not verdict.faults else f"{len(verdict.faults)} faults"
        _line(f"audit log: {verdict.lines} lines, {state}")
        for fault in verdict.faults:
            _line(f"  {fault}")
    if verdict.faults:
        raise typer.Exit(1)


@app.command()
def policy(
    consent: Annotated[str | None, typer.Option(help="open or required")] = None,
    purpose: Annotated[str | None, typer.Option(help="personal, research, commercial")] = None,
    watermark: Annotated[bool | None, typer.Option(help="Mark what is said.")] = None,
    credentials: Annotated[str | None, typer.Option(help="auto, on or off")] = None,
    public_mark: Annotated[str | None, typer.Option(help="off or perth")] = None,
) -> None:
    """Show the policy, or change it; changes are on record."""
    from pydantic import ValidationError

    from ..trust import policy as policies

    chosen = {
        "consent": consent,
        "purpose": purpose,
        "watermark": watermark,
        "credentials": credentials,
        "public_mark": public_mark,
    }
    changes = {name: value for name, value in chosen.items() if value is not None}
    now = policies.load()
    if changes:
        try:
            now = policies.Policy(**{**now.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{first['loc'][0]}: {first['msg'].lower()}") from error
        policies.save(now)
    _json(now.model_dump())


@app.command()
def prompt(
    language: Annotated[str, typer.Option("--lang", help="en or zh")] = "en",
) -> None:
    """Print a sentence with a fresh number, to be read aloud within half an hour."""
    from ..trust import reading

    asked = reading.prompt(language)
    _line(asked.sentence)
    _line(f"number {asked.number}")


@app.command()
def agreement(
    who: Annotated[str, typer.Argument(help="An id for the speaker.")],
    purposes: Annotated[str, typer.Option(help="Comma-separated.")] = "personal",
    languages: Annotated[str, typer.Option(help="Comma-separated.")] = "en,zh",
    days: Annotated[int | None, typer.Option(help="How long it holds.")] = None,
    language: Annotated[str, typer.Option("--lang", help="en or zh")] = "en",
) -> None:
    """Print the agreement that a consent record holds."""
    from ..trust import agreement as texts

    expires = None if days is None else time.time() + days * DAY
    _line(texts.written(language, who, purposes.split(","), languages.split(","), expires))


@app.command()
def consents(as_json: JSON = False) -> None:
    """List the consent records."""
    from ..trust import consent

    _table([consent.summary(*pair) for pair in consent.listed()], as_json)


@app.command()
def attest(
    voice: Annotated[str, typer.Argument(help="A name, a voice file or a recording.")],
    who: Annotated[str, typer.Option(help="An id for the speaker.")],
    purposes: Annotated[str, typer.Option(help="Comma-separated.")] = "personal",
    languages: Annotated[str, typer.Option(help="Comma-separated.")] = "en,zh",
    days: Annotated[int | None, typer.Option(help="How long it holds.")] = None,
) -> None:
    """Put on record that a speaker agreed, on your word."""
    from ..trust import consent
    from .common import find_voice

    given = consent.give(
        find_voice(voice),
        who,
        purposes=purposes.split(","),
        languages=languages.split(","),
        expires=None if days is None else time.time() + days * DAY,
    )
    _line(f"{given.id}: consent of {who} for {given.voice_name} on record")


@app.command()
def revoke(
    identifier: Annotated[str, typer.Argument(help="Of a consent (c-…) or a key.")],
    reason: Annotated[str, typer.Option(help="Kept on record.")] = "",
) -> None:
    """End a consent or a key now, in running servers too."""
    from ..trust import access, consent

    if identifier.startswith("c-"):
        consent.revoke(identifier, reason)
    else:
        access.revoke_key(identifier)
    _line(f"{identifier}: revoked")


@app.command("key")
def make_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    role: Annotated[str, typer.Option(help="caller, operator or owner")] = "caller",
    scopes: Annotated[str, typer.Option(help="Comma-separated.")] = "speak",
    voices: Annotated[str, typer.Option(help="Comma-separated; default: all.")] = "",
    purpose: Annotated[str, typer.Option(help="personal, research, commercial")] = "personal",
    per_minute: Annotated[int, typer.Option(help="Requests; 0: no limit.")] = 0,
    per_day: Annotated[int, typer.Option(help="Characters; 0: no limit.")] = 0,
    days: Annotated[int | None, typer.Option(help="How long it holds.")] = None,
) -> None:
    """Make an API key; it is shown once."""
    from ..trust import access

    text, _ = access.make_key(
        name,
        role=role,
        scopes=scopes.split(","),
        voices=[voice for voice in voices.split(",") if voice],
        purpose=purpose,
        per_minute=per_minute,
        per_day=per_day,
        expires=None if days is None else time.time() + days * DAY,
    )
    _line(text)


@app.command()
def keys(as_json: JSON = False) -> None:
    """List the API keys, without their secrets."""
    from ..trust import access

    _table(access.listed(), as_json)


@app.command("records")
def show_records(
    count: Annotated[int, typer.Option("-n", help="How many.", min=1)] = 20,
    as_json: JSON = False,
) -> None:
    """List what was said last."""
    from ..trust import records

    rows = [
        {
            "record": item.id,
            "time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item.time)),
            "voice": item.voice_name,
            "consent": item.consent,
            "key": item.key,
            "seconds": None if item.seconds is None else round(item.seconds, 2),
            "state": item.state,
        }
        for item in records.latest(count)
    ]
    _table(rows, as_json)


def _table(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _json(rows)
        return
    for row in rows:
        shown = (f"{name} {_shown(value)}" for name, value in row.items() if value not in ("", []))
        _line("  ".join(shown))


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


def _json(value: Any) -> None:
    _line(json.dumps(value, ensure_ascii=False, indent=1))
