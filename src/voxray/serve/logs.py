"""One JSON object a line. What is logged is named here; texts, keys and headers never are.

    {"time": …, "level": "info", "event": "request", "id": …, "route": …, "status": 200, "key": …}

`key` is a key's public id. Everything unforeseen carries its traceback, with keys blotted out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import TextIO

SECRET = re.compile(r"(vxr_[0-9a-f]{8}_)[\w-]+|(?i:bearer)\s+\S+")


class JsonLines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": blotted(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return blotted(json.dumps(line, ensure_ascii=False))


def blotted(text: str) -> str:
    """The text without secrets."""
    return SECRET.sub(lambda found: f"{found[1] or 'Bearer '}***", text)


def to_stream(stream: TextIO = sys.stderr, level: int = logging.INFO) -> logging.Handler:
    """Send the service's log, and the server's faults, to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name, lowest in (("voxray.serve", level), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(lowest)
    return handler
