"""`voxray serve`: the service, on this machine unless told otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import Precision, open_models, voices_folder

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = ("127.0.0.1", "::1", "localhost")
HEADERS_BYTES = 32_768
CONNECTIONS = 256
Pairs = Annotated[list[str] | None, typer.Option(help="NAME=REGISTERED; may be repeated.")]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.", min=1, max=65_535)] = 9880,
    model: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER, mini or mini-small; may be repeated. Default: mini."),
    ] = None,
    precision: Precision = None,
    alias: Pairs = None,
    local: Annotated[
        bool, typer.Option("--local", help="Who comes from this machine needs no key.")
    ] = False,
    api_v2: Annotated[bool, typer.Option("--api-v2", help="GPT-SoVITS' endpoints, too.")] = False,
    open_consent: Annotated[
        bool, typer.Option("--owners-policy", help="Ask for consent as the policy says.")
    ] = False,
    open_metrics: Annotated[
        bool, typer.Option("--open-metrics", help="/metrics without key.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="A Host name the service goes by; * is any.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="A web page's origin that may call.")
    ] = None,
    fetch: Annotated[
        list[str] | None, typer.Option(help="https://HOST that recordings may be fetched from.")
    ] = None,
    most_requests: Annotated[int, typer.Option(help="Then 429.", min=1)] = 64,
    most_active: Annotated[int, typer.Option(help="Spoken in turns.", min=1)] = 8,
) -> None:
    """Serve speech over HTTP: OpenAI's API, WebSockets, voices, consent, verification."""
    _needs()
    from ..serve import Settings, create_app
    from ..serve.fetching import check_origin
    from ..serve.logs import to_stream

    if local and host not in LOOPBACK:
        raise ValueError("--local is for 127.0.0.1: elsewhere callers need keys (voxray trust key)")
    settings = Settings(
        voices=voices_folder(),
        aliases=_pairs(alias, "--alias"),
        consent="policy" if open_consent else "required",
        keys="local" if local else "required",
        api_v2=api_v2,
        open_metrics=open_metrics,
        hosts=tuple(dict.fromkeys((*LOOPBACK, host, *(name or ())))),
        origins=tuple(origin or ()),
        fetch=tuple(map(check_origin, fetch or ())),
        most_requests=most_requests,
        most_active=most_active,
    )
    _bound_memory(settings.workers)
    folders = _models(model)
    open_models(list(folders.values()), precision)
    app = create_app(settings, folders or {"mini": None})
    to_stream(sys.stderr)
    _hint(local)
    _listen(app, host, port)


def _bound_memory(workers: int) -> None:
    """Before threads are started and models run."""
    from ..serve.arenas import limit_arenas, limit_kernels

    limit_arenas(workers + 1)
    limit_kernels(os.environ)


def _needs() -> None:
    try:
        import uvicorn  # noqa: F401

        from .. import serve  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the service needs: pip install 'voxray[serve]' ({error.name})"
        ) from error


def _listen(app: FastAPI, host: str, port: int) -> None:
    """Until it is told to end."""
    import uvicorn

    from ..serve.sockets import Sockets

    uvicorn.run(
        app, host=host, port=port, log_config=None, access_log=False, server_header=False,
        proxy_headers=False, h11_max_incomplete_event_size=HEADERS_BYTES, http=Sockets,
        limit_concurrency=CONNECTIONS, ws_max_size=1 << 20, timeout_graceful_shutdown=15,
    )  # fmt: skip


def _models(given: list[str] | None) -> dict[str, Path]:
    """Names and folders; a model in the package goes by its own name."""
    from ..packaged import builtin_models

    known = builtin_models()
    pairs = [f"{one}={one}" if one in known else one for one in given or ()]
    return {name: Path(folder) for name, folder in _pairs(pairs, "--model").items()}


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for pair in given or ():
        left, equals, right = pair.partition("=")
        if not (left and equals and right):
            raise ValueError(f"{option} wants NAME=VALUE, not {pair!r}")
        pairs[left] = right
    return pairs


def _hint(local: bool) -> None:
    """Without a key nobody can ask for anything: say how to make one."""
    from ..trust import access

    if not local and not access.listed():
        sys.stderr.write("voxray: there is no key yet: `voxray trust key NAME` makes one\n")
