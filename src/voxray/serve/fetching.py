"""A recording by its address: off unless the owner lists the places that may be asked.

    data = fetched("https://media.example/anna.wav", origins=("https://media.example",), most=25 << 20)

Only a listed origin (scheme, host, port) is asked, by its GET, without redirects, proxies, cookies or
keys. A listed name that leads to an address of this machine or a private network is refused, so that
nobody turns a name inwards; where that is wanted the owner lists the address itself. The connection goes to the
address that was checked.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from .errors import Problem

PORTS = {"http": 80, "https": 443}
LONGEST_SECONDS = 30.0  # in all; a silent server is left earlier
SILENT_SECONDS = 10.0
BLOCK = 1 << 16


def fetched(address: str, origins: Sequence[str], most: int) -> bytes:
    """The bytes behind an address, at most `most` of them; a Problem for all else."""
    parts = _parsed(address)
    if not origins or _origin(parts) not in {_origin(_parsed(origin)) for origin in origins}:
        raise Problem("url-denied", "addresses of that place are not fetched here")
    until = time.monotonic() + LONGEST_SECONDS
    try:
        connection = _connected(parts)
        try:
            return _read(connection, parts, most, until)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise Problem("url-unreachable", "the recording could not be fetched") from error


def check_origin(origin: str) -> str:
    """An origin that the owner lists, or what is wrong with it."""
    parts = _parsed(origin)
    if parts.path not in ("", "/") or parts.query:
        raise Problem("bad-request", f"{origin!r:.80} is an address; list scheme, host and port")
    return origin


def _parsed(address: str) -> SplitResult:
    denied = Problem("url-denied", "that is no address of a recording: http(s)://host/path")
    try:
        parts = urlsplit(address)
        known = parts.scheme in PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise denied from None
    plain = address.isascii() and address.isprintable() and not set(address) & set(' \\"<>')
    if not known or not plain or parts.username is not None or parts.fragment:
        raise denied
    return parts


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme]


def _connected(parts: SplitResult) -> http.client.HTTPConnection:
    """A connection to an address that may be asked."""
    scheme, host, port = _origin(parts)
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not _is_literal(host) and not all(ipaddress.ip_address(ip).is_global for ip in found):
        raise Problem("url-denied", "that name leads to an address of this network")
    wire = socket.create_connection((found[0], port), SILENT_SECONDS)
    try:
        if scheme == "https":
            wire = ssl.create_default_context().wrap_socket(wire, server_hostname=host)
    except BaseException:
        wire.close()
        raise
    connection = http.client.HTTPConnection(host, port)
    connection.sock = wire
    return connection


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _read(
    connection: http.client.HTTPConnection, parts: SplitResult, most: int, until: float
) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Accept-Encoding": "identity", "User-Agent": "voxray", "Connection": "close"}
    connection.request("GET", target, headers=headers)
    told = connection.getresponse()
    if told.status != 200 or told.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem("url-unreachable", f"the recording's place answered {told.status}")
    data = bytearray()
    while block := told.read1(BLOCK):
        data += block
        if len(data) > most:
            raise Problem("body-too-large", f"a recording may have {most >> 20} MiB")
        if time.monotonic() > until:
            raise Problem("url-unreachable", f"it took longer than {LONGEST_SECONDS:.0f} s")
    return bytes(data)
