"""The compatibility layer: the original's calls with registered names, and off unless asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import pytest
from serving import Open, body, code, key

from voxray.bundle import Bundle, FamilyBundle
from voxray.engine import check_options
from voxray.pipeline import Pipeline
from voxray.serve.routes_openai import Language


def test_it_is_off_by_default(serve: Open) -> None:
    assert (
        code(serve().get("/tts?text=a&text_lang=en&ref_audio_path=nova", headers=key()))
        == "not-found"
    )


def test_the_originals_calls(serve: Open) -> None:
    client, headers = serve(api_v2=True, aliases={"ref/nova.wav": "nova"}), key()
    asked = {
        "text": "Hello.", "text_lang": "en", "ref_audio_path": "ref/nova.wav", "prompt_text": "x",
        "prompt_lang": "zh", "text_split_method": "cut5", "batch_size": 1, "media_type": "wav",
        "streaming_mode": False, "seed": 1, "top_k": 5, "parallel_infer": True,
    }  # fmt: skip
    posted = client.post("/tts", json=asked, headers=headers)
    assert posted.status_code == 200 and posted.content[:4] == b"RIFF", posted.text
    assert int(posted.headers["content-length"]) == len(posted.content)
    got = client.get("/tts", params={k: str(v) for k, v in asked.items()}, headers=headers)
    assert got.status_code == 200 and got.content[:4] == b"RIFF", got.text
    streamed = client.post(
        "/tts", json={**asked, "streaming_mode": 2, "media_type": "raw"}, headers=headers
    )
    assert streamed.status_code == 200 and streamed.headers["content-type"] == "audio/pcm"


def test_what_a_key_sets_holds_for_it_alone(serve: Open) -> None:
    client, one, other = serve(api_v2=True), key(), key()
    say = "/tts?text=Hello.&text_lang=en&media_type=raw"
    told = client.get("/set_refer_audio?refer_audio_path=nova", headers=one)
    assert told.json() == {"message": "success"}
    assert client.get("/set_gpt_weights?weights_path=tiny", headers=one).status_code == 200
    assert client.get("/set_sovits_weights?weights_path=tiny", headers=one).status_code == 200
    assert client.get(say, headers=one).status_code == 200
    refused = client.get(say, headers=other)
    assert refused.status_code == 400 and refused.json()["message"] == "tts failed"
    assert refused.json()["error"]["code"] == "bad-request" and refused.json()["Exception"]


def test_paths_urls_and_foreign_formats_are_refused(serve: Open) -> None:
    client, headers = serve(api_v2=True), key()
    for path in ("/etc/passwd", "../x", "http://127.0.0.1:1/a.wav", "file:///etc/passwd", "nova\0"):
        told = client.get(
            "/tts", params={"text": "a", "text_lang": "en", "ref_audio_path": path}, headers=headers
        )
        assert told.status_code == 400 and told.json()["error"]["code"] == "voice-unknown"
        told = client.get("/set_gpt_weights", params={"weights_path": path}, headers=headers)
        assert told.status_code == 400 and told.json()["message"] == "change failed"
    asked = {"text": "Hello.", "text_lang": "en", "ref_audio_path": "nova"}
    for changes, expected in (
        ({"media_type": "aac"}, "format-unsupported"),
        ({"text_lang": "klingon"}, "language-unsupported"),
        ({"text_lang": "ja"}, "language-unsupported"),  # of a published model only
        ({"aux_ref_audio_paths": ["nova"]}, "unsupported"),
    ):
        told = client.post("/tts", json={**asked, **changes}, headers=headers)
        assert told.status_code == 400 and told.json()["error"]["code"] == expected
    assert code(client.get("/control?command=exit", headers=headers)) == "not-found"


def test_languages_are_those_of_the_model(
    serve: Open, tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, headers = serve(api_v2=True), key()
    asked = {"text": "Hello.", "ref_audio_path": "nova", "media_type": "raw"}
    for name in ("en", "ALL_ZH", "zh", "auto", ""):
        told = client.post("/tts", json={**asked, "text_lang": name}, headers=headers)
        assert told.status_code == 200, (name, told.text)
    heard: list[str] = []
    known = FamilyBundle.languages.fget(SimpleNamespace(config=SimpleNamespace(version="v2")))  # type: ignore[attr-defined]
    assert (
        set(known)
        == set(get_args(Language))
        == {name for name in known if check_options({"language": name})}
    ), "what the service takes, a published model knows, and `voxray say --lang` takes are one"
    monkeypatch.setattr(Bundle, "languages", known)
    monkeypatch.setattr(
        Pipeline, "stream", lambda *a, **k: heard.append(a[3].language) or 1 / 0
    )  # the tiny model's front end reads no Japanese
    for name in known:
        client.post("/tts", json={**asked, "text_lang": name}, headers=headers)
        client.post("/v1/audio/speech", json=body(language=name), headers=headers)
    assert heard == [name for name in known for _ in range(2)]


def test_streaming_modes_are_sentences_or_chunks(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, headers = serve(api_v2=True), key()
    asked = {"text": "Hello.", "text_lang": "en", "ref_audio_path": "nova", "media_type": "wav"}
    ways: list[str] = []
    monkeypatch.setattr(Pipeline, "stream", lambda *a, **k: ways.append(a[3].stream) or 1 / 0)
    for mode in (0, 1, True, 2, 3):
        client.post("/tts", json={**asked, "streaming_mode": mode}, headers=headers)
    assert ways == ["early", "equal", "equal", "early", "early"]
    ways.clear()
    monkeypatch.setattr(Bundle, "windowed", True)  # as published models are
    client.post("/tts", json=asked, headers=headers)
    client.post("/v1/audio/speech", json=body(whole=True), headers=headers)
    client.post("/v1/audio/speech", json=body(), headers=headers)
    assert ways == ["equal", "equal", "early"]
