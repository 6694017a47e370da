"""`voxray studio`: the page in the browser, on this machine alone."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from threading import Timer
from typing import Annotated

import typer

from .common import MODEL, Precision, open_models, voices_folder

HEADERS_BYTES = 32_768
CONNECTIONS = 128
OPEN_AFTER = 1.0  # seconds


def studio(
    host: Annotated[str, typer.Option(help="A name of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.", min=1, max=65_535)] = 7860,
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    precision: Precision = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Open voxray in the browser: say, see, ask why, change, verify, fine-tune."""
    from importlib.util import find_spec

    missing = [name for name in ("gradio", "fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ImportError(f"the studio needs: pip install 'voxray[studio]' ({missing[0]})")
    import uvicorn

    from ..studio import Settings, create_app
    from ..studio.settings import LOOPBACK

    if host not in LOOPBACK:
        raise ValueError(
            f"the studio is for its owner's machine, so --host is one of {', '.join(LOOPBACK)}; "
            "for others run `voxray serve`, or reach this page through `ssh -L`"
        )
    open_models([] if model is None else [model], precision)
    app = create_app(Settings(home=voices_folder().parent, model=model))
    shown = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    sys.stderr.write(f"voxray studio: {shown} (Ctrl-C ends it)\n")
    if browser:
        opener = Timer(OPEN_AFTER, webbrowser.open, [shown])
        opener.daemon = True
        opener.start()
    uvicorn.run(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, h11_max_incomplete_event_size=HEADERS_BYTES, http="h11", ws="none",
        limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=3,
    )  # fmt: skip
