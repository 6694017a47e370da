"""Connections that end: half-open ones, readers that read nothing, what is no HTTP.

In: uvicorn's HTTP protocol. A connection without a whole head after `head_seconds` is closed (uvicorn
alone would keep it, and count it among those that it has room for); one whose reader takes nothing for
`reader_seconds` is cut; what cannot be read as a request is told so in the shape of every other failure.
"""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

BROKEN = "this is no HTTP request, or its headers are too long"


class Sockets(H11Protocol):
    """One connection."""

    head_seconds = 30.0
    reader_seconds = 75.0  # a little more than the scheduler gives a reader: its word comes first
    _head: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        super().data_received(data)
        self._expect_head()

    def _expect_head(self) -> None:
        """Wait no longer than that for the rest of a head, however slowly it drips in."""
        if self.conn.their_state is not h11.IDLE:
            self._head = _stopped(self._head)
        elif self._head is None:
            self._head = self.loop.call_later(self.head_seconds, self._too_late)

    def _too_late(self) -> None:
        self._head = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()

    def pause_writing(self) -> None:
        """The reader is behind."""
        super().pause_writing()
        self._reader = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._reader = _stopped(self._reader)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._head, self._reader = _stopped(self._head), _stopped(self._reader)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """The one shape of every failure; then the connection is closed."""
        body = json.dumps({"error": {"code": "bad-request", "message": BROKEN}}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        length = (b"content-length", str(len(body)).encode())
        for event in (
            h11.Response(status_code=400, headers=[*headers, length], reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
