"""What every request passes first: names, sizes, time; and what every answer carries and leaves.

In: an ASGI application. Host and Origin must be known, bodies are counted as they come in and may
not be compressed, a silent sender is cut off; answers carry a closed Content-Security-Policy; each
request is one line of the log and one count, and no failure leaves as anything but JSON.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Problem, problem_of, response
from .state import Service

log = logging.getLogger("voxray.serve")
UPLOADS = "multipart/form-data"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class BodyProblem(HTTPException):
    """A problem met while a body is read; FastAPI lets it through as it is."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status, problem.message)
        self.problem = problem


class Guard:
    """The middleware."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        passage = _Passage(self.service, scope, receive, send)
        try:
            passage.check()
            await self.app(scope, passage.receive, passage.send)
        except Exception as error:  # noqa: BLE001 - nothing unforeseen reaches the client as it is
            await passage.fail(error)
        finally:
            passage.book()


class _Passage:
    """One request on its way through."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.service, self.scope = service, scope
        self._receive, self._send = receive, send
        self.id = secrets.token_hex(8)
        self.status = 0
        self.code = ""
        self.taken = 0
        self.since = time.monotonic()
        self.body_over = False
        self.http = scope["type"] == "http"
        self.headers = {
            k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]
        }
        uploads = self.headers.get("content-type", "").startswith(UPLOADS)
        self.limit = service.settings.most_upload if uploads else service.settings.most_json

    def check(self) -> None:
        """Refuse what can be refused unread."""
        hosts, host = self.service.settings.hosts, _name(self.headers.get("host", ""))
        if "*" not in hosts and host not in hosts:
            raise Problem("host-denied", "this service does not go by that name (Host)")
        origin = self.headers.get("origin")
        if origin is not None and origin not in self.service.settings.origins:
            raise Problem("origin-denied", "web pages of that origin may not call this service")
        if self.headers.get("content-encoding", "identity") != "identity":
            raise Problem("encoding-unsupported", "send the body as it is, not compressed")
        length = self.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next piece, counted and waited for with patience that ends."""
        if self.body_over or not self.http:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self.service.settings.body_timeout)
        except asyncio.TimeoutError as error:
            slow = Problem("body-timeout", "the request's body did not come")
            raise BodyProblem(slow) from error
        self.taken += len(message.get("body", b""))
        self.body_over = not message.get("more_body", False)
        if self.taken > self.limit:
            raise BodyProblem(self._too_large())
        return message

    async def send(self, message: Message) -> None:
        """The answer, with what every answer carries."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name.lower() for name, _ in message.get("headers", [])}
            added = {**HEADERS, "X-Request-Id": self.id}
            extra = [
                (k.encode(), v.encode())
                for k, v in added.items()
                if k.lower().encode() not in present
            ]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
            codes = [v.decode() for k, v in message["headers"] if k.lower() == b"x-voxray-error"]
            self.code = codes[0] if codes else ""
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Tell of a failure, if there is still room to."""
        told = problem_of(error)
        self.code = told.code
        if self.http and not self.status:
            await response(told)(self.scope, self._receive, self.send)
        elif not self.http and not self.status:
            self.status = told.status
            await self._send({"type": "websocket.close", "code": 1008, "reason": told.code})
        else:
            raise error  # the answer has begun: the connection is cut, which the client notices

    def book(self) -> None:
        """A line and a count."""
        route = getattr(self.scope.get("route"), "path", "none")
        spent = time.monotonic() - self.since
        metrics = self.service.metrics
        metrics.requests.labels(route, str(self.status)).inc()
        metrics.lasted.labels(route).observe(spent)
        if self.code:
            metrics.errors.labels(self.code).inc()
        fields: dict[str, Any] = {
            "id": self.id, "method": self.scope.get("method", "WS"), "route": route,
            "status": self.status, "code": self.code, "key": self.scope.get("voxray_key", ""),
            "seconds": round(spent, 3), "body": self.taken,
        }  # fmt: skip
        log.info("request", extra={"fields": fields})

    def _too_large(self) -> Problem:
        return Problem("body-too-large", f"at most {self.limit} bytes may be sent")


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
