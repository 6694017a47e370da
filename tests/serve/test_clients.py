"""Real clients against a live server: OpenAI's packages for Python and Node, urllib as api_v2's tools use
it, and requests generated from the service's own description.

The Node client needs `node` and its `openai` package (`npm install openai` in a folder that NODE_PATH
names); the others are in the extra `clients`. What is missing is skipped.
"""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile
from live_server import running
from serving import body, key

from voxray.bundle import Bundle
from voxray.serve import Settings, create_app
from voxray.trust import audit, records

pytestmark = pytest.mark.slow
LONGEST_SEARCH = 60.0  # seconds; what was not asked by then is left
LONGEST_ANSWER = 30.0


def test_openais_package_speaks_streams_and_hears_refusals(tiny: Bundle, place: Path) -> None:
    openai = pytest.importorskip("openai")
    text = key()["Authorization"][7:]
    with running(tiny, place / "voices") as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key=text, max_retries=0)
        assert [model.id for model in client.models.list()] == ["tiny"]
        made = client.audio.speech.create(model="tts-1", voice="nova", input="Hello.")
        samples, rate = soundfile.read(io.BytesIO(made.content))
        assert rate == 24_000 and len(samples) > 2400
        stream = client.audio.speech.with_streaming_response
        with stream.create(
            model="tiny", voice="nova", input="Hello.", response_format="pcm"
        ) as response:
            sound = b"".join(response.iter_bytes())
        assert len(np.frombuffer(sound, "<i2")) > 2400
        with pytest.raises(openai.NotFoundError) as missing:
            client.audio.speech.create(model="tts-1", voice="no-one", input="Hello.")
        assert missing.value.body["code"] == "voice-unknown"
        stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="sk-x", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()


def test_a_tool_of_api_v2_and_a_client_that_leaves(tiny: Bundle, place: Path) -> None:
    with running(tiny, place / "voices", api_v2=True, keys="local") as address:
        asked = {"text": "Hello.", "text_lang": "en", "ref_audio_path": "nova", "prompt_lang": "en"}
        with urllib.request.urlopen(f"{address}/tts?{urlencode(asked)}") as told:
            assert told.headers["content-type"] == "audio/wav" and told.read(4) == b"RIFF"
        _leave(address)
        deadline = time.monotonic() + 120
        while records.latest(1)[0].state != "done" and time.monotonic() < deadline:
            time.sleep(0.1)
        last = records.latest(1)[0]
        assert last.state == "done" and last.characters > 10_000
        with urllib.request.urlopen(f"{address}/tts?{urlencode(asked)}") as told:
            assert told.status == 200, "the next request is unharmed"
    assert audit.verify().faults == ()


def _leave(address: str) -> None:
    """Ask for a long text, take a little, hang up."""
    host, _, port = address.removeprefix("http://").partition(":")
    text = json.dumps(body(input="Hello there, my friend. " * 500)).encode()
    head = (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + text)
        assert connection.recv(64).startswith(b"HTTP/1.1 200")


NODE_CLIENT = """
const {OpenAI} = require("openai");
const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({baseURL, apiKey, maxRetries: 0});
(async () => {
  const heard = {models: (await client.models.list()).data.map((model) => model.id)};
  const wanted = {model: "tts-1", voice: "nova", input: "Hello.", response_format: "pcm"};
  heard.whole = (await (await client.audio.speech.create(wanted)).arrayBuffer()).byteLength;
  heard.streamed = heard.chunks = 0;
  for await (const chunk of (await client.audio.speech.create(wanted)).body) {
    heard.streamed += chunk.length;
    heard.chunks += 1;
  }
  try {
    await client.audio.speech.create({...wanted, voice: "no-one"});
  } catch (error) {
    heard.refusal = [error.status, error.code];
  }
  const stranger = new OpenAI({baseURL, apiKey: "sk-x", maxRetries: 0});
  await stranger.models.list().catch((error) => { heard.stranger = [error.status, error.code]; });
  console.log(JSON.stringify(heard));
})();
"""


def test_openais_package_for_node(tiny: Bundle, place: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    there = subprocess.run([node, "-e", 'require("openai")'], capture_output=True, timeout=60)
    if there.returncode:
        pytest.skip(
            "node finds no package openai: npm install openai, and NODE_PATH to node_modules"
        )
    script = place / "client.cjs"
    script.write_text(NODE_CLIENT, encoding="utf-8")
    with running(tiny, place / "voices") as address:
        command = [node, script, f"{address}/v1", key()["Authorization"][7:]]
        told = subprocess.run(command, capture_output=True, timeout=120, text=True)
    assert told.returncode == 0, told.stderr
    heard = json.loads(told.stdout)
    assert heard["models"] == ["tiny"] and heard["chunks"] >= 1
    assert heard["whole"] > 2 * 2400 and heard["streamed"] > 2 * 2400
    assert heard["refusal"] == [404, "voice-unknown"] and heard["stranger"] == [401, "key-unknown"]
    assert audit.verify().faults == ()


@pytest.mark.parametrize("role", ["caller", "operator"])
def test_generated_requests_never_break_the_service(role: str, tiny: Bundle, place: Path) -> None:
    """What the description allows, and what it does not: never a 5xx, always the error's shape."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    headers = key("speak", "convert", "clone", "voices", "verify", "manage", role=role)
    chosen = Settings(hosts=("*",), voices=place / "voices", heavy_per_minute=5, api_v2=True)
    app = create_app(chosen, {"tiny": tiny})
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 15
    until = time.monotonic() + LONGEST_SEARCH

    @settings(
        max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # a failure is told as found: shrinking takes minutes
    )  # fmt: skip
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        if time.monotonic() > until:
            return
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy())
        told = case.call(headers=headers, timeout=LONGEST_ANSWER)
        assert told.status_code < 500, (operation.label, told.status_code, told.text)
        if told.status_code >= 400 and not operation.path.endswith("ready"):
            assert set(told.json()["error"]) == {"code", "message"}, operation.label

    ask()
    app.state.service.scheduler.stop(1.0)
    assert audit.verify().faults == ()
