"""The studio as an ASGI application: one page in each language, the sounds, and the guard in front.

    app = create_app(Settings(home=folder))

`/` leads to the page in the browser's language; `/sound/ID.wav` gives a take. Gradio asks nobody
anything: no analytics, no share, no fonts or scripts from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"  # read when gradio is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a page needs no hub
import gradio as gr
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from ..serve.errors import Problem
from .actions import Studio
from .guard import Guard
from .opening import Opening
from .page import build, head
from .settings import Settings
from .strings import LANGUAGES, Words
from .takes import FORMATS
from .tuning import Tuner


def create_app(settings: Settings, studio: Studio | None = None) -> FastAPI:
    """A studio; its takes and a running fine-tune end with it."""
    studio = studio or Studio(settings)
    tuner = Tuner(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        tuner.stop()
        studio.shelf.close()

    app = FastAPI(title="voxray studio", lifespan=lifespan, openapi_url=None)
    app.state.studio, app.state.tuner = studio, tuner
    _routes(app, studio)
    os.environ["GRADIO_TEMP_DIR"] = str(studio.shelf.folder / "uploads")
    for language in LANGUAGES:
        words = Words(language)
        gr.mount_gradio_app(
            app, build(studio, tuner, words), path=f"/{language}", footer_links=[], run_history=False,
            show_error=False, max_file_size=settings.most_upload, ssr_mode=False, pwa=False,
            enable_monitoring=False, mcp_server=False, allowed_paths=[],
            theme=theme(), server_name="127.0.0.1",
        )  # fmt: skip
    heads = {f"/{name}/": (name, head(Words(name))) for name in LANGUAGES}
    app.add_middleware(Opening, heads=heads)
    app.add_middleware(Guard, settings=settings)
    return app


def theme() -> gr.themes.Base:
    """Gradio's own look with the fonts of the reader's machine."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans CJK SC", "sans-serif"]
    return gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "monospace"]
    )


def _routes(app: FastAPI, studio: Studio) -> None:
    @app.get("/")
    async def root(request: Request) -> Response:
        """The page in the browser's language."""
        return RedirectResponse(f"/{preferred(request.headers.get('accept-language', ''))}/", 303)

    @app.get("/favicon.ico")
    async def icon() -> Response:
        """None."""
        return Response(status_code=204)

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        """Whether it runs."""
        return {"status": "ok"}

    @app.get("/sound/{name}")
    def sound(name: str) -> Response:
        """A take's sound."""
        identifier, _, kind = name.partition(".")
        try:
            path = studio.shelf.file(identifier, kind)
        except Problem as problem:
            raise HTTPException(404, problem.message) from problem
        return FileResponse(path, media_type=FORMATS[kind], headers={"Cache-Control": "no-store"})


def preferred(accepted: str) -> str:
    """`zh` where the browser asks for Chinese before English."""
    for part in accepted.lower().split(","):
        name = part.split(";")[0].strip()
        if name[:2] in LANGUAGES:
            return name[:2]
    return LANGUAGES[0]
