"""Who asks: the key in `Authorization: Bearer` or `X-API-Key`, or the owner's own machine.

Wrong keys are counted by address; too many lock the address out for the rest of the minute. Where
the settings say `keys: local`, what comes straight from this machine needs no key: it may do all
but manage keys.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from ..trust import Refused, access
from ..trust.access import Caller
from .errors import Problem
from .state import Service, aside, service_of

LOCAL = Caller(
    name="local", role="operator", scopes=tuple(s for s in access.SCOPES if s != "manage")
)
bearer = HTTPBearer(auto_error=False, description="A key made with `voxray trust key`.")


async def caller_of(connection: HTTPConnection) -> Caller:
    """The caller, or a refusal."""
    service = service_of(connection)
    text = _key_text(connection)
    if not text.startswith(f"{access.PREFIX}_") and _is_local(service, connection):
        return LOCAL
    if not text:
        raise Problem("key-missing", "give a key: Authorization: Bearer vxr_…")
    address = connection.client.host if connection.client else ""
    wait = service.guesses.wait(address)
    if wait:
        raise Problem("key-guessing", "too many wrong keys from this address", wait)
    try:
        who = await aside(access.authenticate, text)
    except Refused as refusal:
        if refusal.code == "key-unknown":
            service.guesses.count(address)
        raise
    connection.scope["voxray_key"] = who.id
    return who


async def caller_of_request(
    connection: HTTPConnection, _: Annotated[object, Depends(bearer)]
) -> Caller:
    """The same for HTTP, seen in the OpenAPI description."""
    return await caller_of(connection)


Who = Annotated[Caller, Depends(caller_of_request)]


@contextmanager
def allowed(who: Caller, scope: str, role: str = "caller") -> Iterator[Caller]:
    """Within, everything is asked for by this caller; outside, nothing is, if they may not."""
    who.need(scope)
    who.need_role(role)
    with access.calling(who):
        yield who


def _key_text(connection: HTTPConnection) -> str:
    kind, _, text = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip()
    return connection.headers.get("x-api-key", "").strip()


def _is_local(service: Service, connection: HTTPConnection) -> bool:
    """Straight from this machine: not through a proxy that stands on it."""
    if service.settings.keys != "local" or connection.client is None:
        return False
    if any(name in connection.headers for name in ("x-forwarded-for", "forwarded")):
        return False
    try:
        return ipaddress.ip_address(connection.client.host).is_loopback
    except ValueError:
        return False
