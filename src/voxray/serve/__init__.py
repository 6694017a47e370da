"""The service: voxray for programs, over HTTP and WebSocket. Thin: the engine speaks, trust decides.

    app = create_app(Settings(), {"mini": None})     # an ASGI application
    voxray serve                                     # the same, on 127.0.0.1

`scheduler` shares the models among callers, `speech` turns a request into marked chunks, `encoding`
chunks into bytes, `routes_*` are the endpoints, `guard` is what every request passes first.
"""

from __future__ import annotations

from .app import create_app
from .settings import Settings

__all__ = ["Settings", "create_app"]
