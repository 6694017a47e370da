"""What every request passes first: only the paths that the page needs, sizes, and a closed page.

In: an ASGI application. Host must be a name of this machine, an Origin must be the page's own; bodies are
counted as they come in; of Gradio's many routes only those below are open (no API pages, no proxy, no
fetching of URLs). Answers carry a Content-Security-Policy that lets the browser ask nobody else.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import Settings

PAGE = r"/(?:en|zh)"
OPEN = re.compile(
    rf"/|/healthz|/favicon\.ico|/sound/[0-9a-f]{{32}}\.[a-z0-9]{{2,4}}|{PAGE}/?"
    rf"|{PAGE}/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?"
    rf"|{PAGE}/(?:assets|static|svelte)/.+"
    rf"|{PAGE}/gradio_api/(?:queue/join|queue/data|upload|upload_progress|cancel|reset|app_id|info"
    rf"|startup-events|theme\.css|heartbeat/[\w-]+)/?"
    rf"|{PAGE}/gradio_api/file=/.+"
)
UPLOAD = re.compile(rf"{PAGE}/gradio_api/upload/?")
ENVELOPE = 1 << 16  # of an upload, beside the file
# Gradio builds parts of its page from text: its own scripts need 'unsafe-eval' and inline ones.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
        "font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class TooMuch(HTTPException):
    """A body went over its limit on the way; FastAPI lets it through as it is."""

    def __init__(self) -> None:
        super().__init__(413, "too much was sent")


class Guard:
    """The middleware."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page needs no WebSocket
        refusal = self._refusal(scope)
        if refusal is not None:
            await PlainTextResponse(refusal[1], refusal[0], HEADERS)(scope, receive, send)
            return
        passage = _Passage(self._limit(scope), receive, send)
        try:
            await self.app(scope, passage.receive, passage.send)
        except TooMuch:
            if not passage.begun:
                told = PlainTextResponse("too much was sent", 413, HEADERS)
                await told(scope, receive, send)

    def _limit(self, scope: Scope) -> int:
        upload = UPLOAD.fullmatch(scope["path"])
        return self.settings.most_upload + ENVELOPE if upload else self.settings.most_json

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = _headers(scope)
        host = headers.get("host", "")
        if _name(host) not in self.settings.hosts:
            return 421, "the studio does not go by that name"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "web pages of another origin may not call the studio"
        if headers.get("sec-fetch-site", "same-origin") == "cross-site" and scope["path"] != "/":
            return 403, "other web pages may not call the studio"
        path = unquote(scope["path"])
        if not OPEN.fullmatch(path) or ".." in path.split("/"):
            return 404, "not found"
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limit(scope):
            return 413, "too much was sent"
        return None


class _Passage:
    """One request on its way: counted in, sealed out."""

    def __init__(self, limit: int, receive: Receive, send: Send) -> None:
        self._limit, self._receive, self._send = limit, receive, send
        self._taken = 0
        self.begun = False

    async def receive(self) -> Message:
        """The next piece of the body."""
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self._taken > self._limit:
            raise TooMuch
        return message

    async def send(self, message: Message) -> None:
        """The next piece of the answer."""
        if message["type"] == "http.response.start":
            self.begun = True
            kept = [pair for pair in message.get("headers", []) if not _ours(pair[0])]
            added = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
            message = {**message, "headers": [*kept, *added]}
        await self._send(message)


def _ours(name: bytes) -> bool:
    known: set[str] = {key.lower() for key in HEADERS}
    return name.decode("latin-1").lower() in known | {"access-control-allow-origin"}


def _headers(scope: Scope) -> dict[str, Any]:
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
