"""What the service's tests share: keys, a request, the shape of an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from voxray.trust import access

Open = Callable[..., TestClient]


def key(*scopes: str, **choices: Any) -> dict[str, str]:
    """Headers with a fresh key."""
    text, _ = access.make_key("test", scopes=scopes or ("speak",), **choices)
    return {"Authorization": f"Bearer {text}"}


def body(**changes: Any) -> dict[str, Any]:
    """A request for a little speech."""
    return {"input": "Hello.", "voice": "nova", "response_format": "pcm", "seed": 1, **changes}


def code(response: Any) -> str:
    """The error's code, its body having the one shape."""
    told = response.json()
    assert set(told) >= {"error"} and set(told["error"]) == {"code", "message"}
    return told["error"]["code"]
