"""Many machines: a local Ray cluster of two workers, one of them killed under load."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import body, key

from voxray.bundle import Bundle
from voxray.trust import audit, records

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).parents[2] / "deploy"


def ask(port: int, headers: dict[str, str]) -> int:
    """The status of one request, -1 where it was cut off: never half a sound that looks whole."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        text = json.dumps(body(input="Come inside. It is late."))
        connection.request("POST", "/v1/audio/speech", text, headers)
        told = connection.getresponse()
        sound = told.read()
        assert told.status != 200 or len(sound) > 2 * 2400
        return told.status
    except (http.client.HTTPException, OSError):
        return -1
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_worker_dies_under_load(
    tiny: Bundle, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    from ray.cluster_utils import Cluster

    monkeypatch.syspath_prepend(str(DEPLOY))
    deploy = importlib.import_module("ray_app")
    tiny.save(place / "tiny")
    headers = {**key(), "Content-Type": "application/json"}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": paths})
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
        arguments = deploy.Arguments(
            home=place, cpus=1, replicas=2, models={"tiny": place / "tiny"}, hosts=["127.0.0.1"]
        )
        serve.run(deploy.application(arguments))
        assert [ask(port, headers) for _ in range(4)] == [200] * 4
        with ThreadPoolExecutor(4) as crowd:
            asked = [crowd.submit(ask, port, headers) for _ in range(40)]
            while sum(future.done() for future in asked) < 8:
                time.sleep(0.05)
            cluster.remove_node(workers[0], allow_graceful=False)
            told = [future.result() for future in asked]
        assert told.count(200) >= 30, told  # what the dead one was saying is lost, no more
        assert {*told} <= {200, 500, 503, -1}
        assert [ask(port, headers) for _ in range(4)] == [200] * 4
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()
    assert audit.verify().faults == ()
    assert len(records.latest(1000)) >= told.count(200) + 8
