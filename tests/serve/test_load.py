"""Requests side by side: one pass makes their tokens, each hears its own voice, who leaves makes room."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from serving import Open, body, key

VOICES = ("nova", "george", "michael")
TEXTS = ("Come inside. It is late.", "He said so twice, and nobody heard him.", "No.")


def ask(client, headers: dict[str, str], number: int) -> np.ndarray:
    asked = body(voice=VOICES[number % 3], input=TEXTS[number % 2], seed=number % 6)
    told = client.post("/v1/audio/speech", json=asked, headers=headers)
    assert told.status_code == 200, told.text
    return np.frombuffer(told.content, "<i2").astype(np.float64)


def test_side_by_side_each_is_what_it_is_alone(serve: Open) -> None:
    client, keys = serve(), [key(), key(), key()]
    alone = [ask(client, keys[0], number) for number in range(6)]
    pool = client.app.state.service.pools["tiny"]  # type: ignore[attr-defined]
    passes, tokens = pool.steps, pool.tokens
    with ThreadPoolExecutor(8) as crowd:
        found = list(crowd.map(lambda n: ask(client, keys[n % 3], n), range(18)))
    for number, sound in enumerate(found):
        wanted = alone[number % 6]
        assert len(sound) == len(wanted)  # the same tokens; the mark differs from record to record
        assert sound @ wanted > 0.9 * np.linalg.norm(sound) * np.linalg.norm(wanted), number
    assert pool.tokens - tokens > 2 * (pool.steps - passes), "more than two in a pass, on average"
    assert len(pool) == 0 and client.app.state.service.scheduler.counts() == (0, 0)  # type: ignore[attr-defined]
    page = client.get("/metrics", headers=key("manage")).text
    assert "voxray_tokens_total" in page and "voxray_token_passes_total" in page


def test_an_explanation_beside_speech_changes_nothing(serve: Open) -> None:
    """It attaches to the models: meanwhile nobody else uses them."""
    client, headers = serve(), key()
    alone = [ask(client, headers, number) for number in range(3)]
    with ThreadPoolExecutor(4) as crowd:
        jobs = [
            client.post("/v1/explanations", json={"input": TEXTS[2], "voice": "nova"}, headers=headers)
            for _ in range(2)
        ]  # fmt: skip
        found = list(crowd.map(lambda n: ask(client, headers, n % 3), range(9)))
    assert [job.status_code for job in jobs] == [202, 202]
    for number, sound in enumerate(found):
        wanted = alone[number % 3]
        assert len(sound) == len(wanted), number
        assert sound @ wanted > 0.9 * np.linalg.norm(sound) * np.linalg.norm(wanted), number
    for job in jobs:
        assert outcome(client, headers, job.json()["id"]) == "done"


def outcome(client, headers: dict[str, str], job: str) -> str:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        state = client.get(f"/v1/explanations/{job}", headers=headers).json()["state"]
        if state != "queued":
            return state
        time.sleep(0.1)
    return "never"


def test_a_crowd_is_told_to_come_back(serve: Open) -> None:
    client, headers = serve(most_requests=3, most_per_key=2), key()

    def status(number: int) -> tuple[int, str]:
        told = client.post("/v1/audio/speech", json=body(input=TEXTS[1] * 4), headers=headers)
        return told.status_code, told.headers.get("retry-after", "")

    with ThreadPoolExecutor(8) as crowd:
        told = list(crowd.map(status, range(8)))
    assert {code for code, _ in told} == {200, 429}
    assert all(int(wait) >= 1 for code, wait in told if code == 429)
    assert status(0)[0] == 200
