"""Figures for Prometheus: requests, refusals, the queue, first audio, audio made, load of the models.

One registry per service, so that two in one process do not mix. No label names a key, voice or text.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ..token_pool import TokenPool
from .scheduler import Scheduler

FIRST_AUDIO = (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
LENGTHS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """What is counted."""

    def __init__(self, scheduler: Scheduler, pools: Mapping[str, TokenPool]) -> None:
        self.registry = CollectorRegistry()
        self._scheduler, self._pools = scheduler, pools
        self.requests = Counter(
            "voxray_requests", "HTTP requests.", ["route", "status"], registry=self.registry
        )
        self.errors = Counter(
            "voxray_errors", "Requests that failed, by code.", ["code"], registry=self.registry
        )
        self.lasted = Histogram(
            "voxray_request_seconds", "Time of a request.", ["route"],
            buckets=LENGTHS, registry=self.registry,
        )  # fmt: skip
        self.first_audio = Histogram(
            "voxray_first_audio_seconds", "From the request to its first sound.",
            buckets=FIRST_AUDIO, registry=self.registry,
        )  # fmt: skip
        self.audio = Counter("voxray_audio_seconds", "Sound made.", registry=self.registry)
        self.characters = Counter("voxray_characters", "Text asked for.", registry=self.registry)
        self.left = Counter(
            "voxray_left", "Speech ended early: the client left.", registry=self.registry
        )
        self.live = Gauge("voxray_live_connections", "WebSockets.", registry=self.registry)
        self.registry.register(self)  # type: ignore[arg-type]  # a collector by its method

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        """What the scheduler and the token pools know, when they are asked."""
        active, waiting = self._scheduler.counts()
        pools = list(self._pools.values())
        return [
            GaugeMetricFamily("voxray_active", "Requests that take turns.", active),
            GaugeMetricFamily("voxray_waiting", "Requests that wait.", waiting),
            CounterMetricFamily(
                "voxray_token_passes",
                "Shared passes of the GPT.",
                sum(pool.steps for pool in pools),
            ),
            CounterMetricFamily(
                "voxray_tokens",
                "Tokens that these passes made.",
                sum(pool.tokens for pool in pools),
            ),
            CounterMetricFamily(
                "voxray_busy_seconds", "Time of the workers.", self._scheduler.busy_seconds
            ),
        ]

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)
