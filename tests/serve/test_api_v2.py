"""The compatibility layer: the original's calls with registered names, and off unless asked for."""

from __future__ import annotations

from serving import Open, code, key


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
        ({"text_lang": "klingon"}, "bad-request"),
        ({"aux_ref_audio_paths": ["nova"]}, "unsupported"),
    ):
        told = client.post("/tts", json={**asked, **changes}, headers=headers)
        assert told.status_code == 400 and told.json()["error"]["code"] == expected
    assert code(client.get("/control?command=exit", headers=headers)) == "not-found"
