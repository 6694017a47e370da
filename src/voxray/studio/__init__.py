"""The studio: voxray in the browser, on one's own machine. Thin: the engine speaks, trust decides.

    app = create_app(Settings())     # an ASGI application
    voxray studio                    # the same, on 127.0.0.1

`actions` are what the page's buttons do (plain functions, no browser needed), `figures` draws, `strings`
holds every word in English and Chinese, `page` puts the components together, `guard` is what every
request passes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from .app import create_app

__all__ = ["Settings", "create_app"]


def __getattr__(name: str) -> Any:
    """Load on first use: the actions work where Gradio is not installed."""
    if name != "create_app":
        raise AttributeError(f"module 'voxray.studio' has no attribute {name!r}")
    from .app import create_app

    return create_app
