"""What one key made is nothing to another: explanations, records, what a file tells."""

from __future__ import annotations

import time

import pytest
from serving import Open, body, code, key

SPEECH, JOBS = "/v1/audio/speech", "/v1/explanations"


def test_an_explanation_is_its_key_s_alone(serve: Open) -> None:
    client, hers, his = serve(), key(), key()
    asked = client.post(JOBS, json={"input": "No.", "voice": "nova"}, headers=hers)
    assert asked.status_code == 202
    name = asked.json()["id"]
    told = client.get(f"{JOBS}/{name}", headers=his)
    assert (told.status_code, code(told)) == (404, "job-unknown")
    assert code(client.get(f"{JOBS}/{name}", headers={})) == "key-missing"
    until = time.monotonic() + 120
    while client.get(f"{JOBS}/{name}", headers=hers).json()["state"] == "queued":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert client.get(f"{JOBS}/{name}", headers=hers).json()["state"] == "done"
    assert code(client.get(f"{JOBS}/{name}", headers=his)) == "job-unknown"


def test_a_file_tells_a_caller_of_its_own_records_alone(serve: Open) -> None:
    pytest.importorskip("c2pa", reason="needs: pip install 'voxray[provenance]'")
    client, hers, his = serve(), key("speak", "verify"), key("speak", "verify")
    asked = body(response_format="wav", whole=True)
    sound = client.post(SPEECH, json=asked, headers=hers).content
    (mine, other, owner) = (
        client.post("/v1/verify", files={"audio": ("x.wav", sound)}, headers=headers).json()
        for headers in (hers, his, key("verify", role="operator"))
    )
    (record,) = mine["records"]
    assert record.startswith("r-") and any(record in line for line in mine["likely"])
    assert owner["records"] == [record]
    assert other["records"] == [] and record not in str(other) and other["credentials"] is None
