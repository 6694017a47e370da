"""Work whose result is fetched later: kept for its key alone, for an hour, bounded in number."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from .errors import Problem, body, problem_of

KEPT_SECONDS = 3600.0
MOST_JOBS = 256


@dataclass
class Job:
    """One job: `state` is queued, done or failed."""

    owner: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    made: float = field(default_factory=time.time)
    state: str = "queued"
    result: Any = None
    error: dict[str, Any] | None = None

    def report(self) -> dict[str, Any]:
        """What the client sees."""
        shown: dict[str, Any] = {"id": self.id, "state": self.state}
        if self.state == "done":
            shown["result"] = self.result
        return shown | (self.error or {})

    def finish(self, result: Any) -> None:
        """It worked."""
        self.state, self.result = "done", result

    def fail(self, error: BaseException) -> None:
        """It did not."""
        self.state, self.error = "failed", body(problem_of(error))


class Jobs:
    """All jobs of a service."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def add(self, owner: str) -> Job:
        """A new job."""
        now = time.time()
        for job in list(self._jobs.values()):
            if now - job.made > KEPT_SECONDS or len(self._jobs) >= MOST_JOBS:
                del self._jobs[job.id]
        job = Job(owner)
        self._jobs[job.id] = job
        return job

    def find(self, owner: str, identifier: str) -> Job:
        """A job of this owner."""
        job = self._jobs.get(identifier)
        if job is None or job.owner != owner:
            raise Problem("job-unknown", "there is no such job of yours, or it is over an hour old")
        return job
