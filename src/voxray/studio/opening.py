"""The first bytes of a page: language and style sheet stand in it before any script of Gradio's runs.

In: an ASGI application that sends Gradio's page. Out: the same, with our head put in and `lang` set;
Gradio itself adds a head only later, when its own parts have chosen the browser's language.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Opening:
    """The middleware. `heads`: path of a page -> (language, what stands first in its head)."""

    def __init__(self, app: ASGIApp, heads: Mapping[str, tuple[str, str]]) -> None:
        self.app = app
        self.heads = heads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        found = self.heads.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        plain = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self.app({**scope, "headers": plain}, receive, keep)
        begun = next(m for m in kept if m["type"] == "http.response.start")
        parts = [m.get("body", b"") for m in kept if m["type"] == "http.response.body"]
        body = opened(b"".join(parts), *found)
        headers = [pair for pair in begun["headers"] if pair[0].lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({**begun, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def opened(body: bytes, language: str, head: str) -> bytes:
    """A page with our head first, in its language; anything else as it is."""
    before, tag, after = body.partition(b"<head>")
    if not tag:
        return body
    before = before.replace(b'lang="en"', f'lang="{language}"'.encode())
    return before + tag + head.encode() + after
