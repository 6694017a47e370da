"""The migration table names every option of the original's web interfaces and command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[1] / "docs" / "from-gpt-sovits.md"
OPTIONS = {
    "api_v2 /tts": (
        "text text_lang ref_audio_path aux_ref_audio_paths prompt_text prompt_lang top_k top_p temperature"
        " text_split_method batch_size batch_threshold split_bucket speed_factor fragment_interval seed"
        " media_type streaming_mode parallel_infer repetition_penalty sample_steps super_sampling"
        " overlap_length min_chunk_length"
    ),
    "api_v2 endpoints and flags": (
        "/tts /set_refer_audio /set_gpt_weights /set_sovits_weights /control -a -p -c"
    ),
    "api /": (
        "refer_wav_path prompt_text prompt_language text text_language cut_punc top_k top_p temperature"
        " speed inp_refs sample_steps if_sr"
    ),
    "api endpoints and flags": (
        "/change_refer /set_model /control -s -g -dr -dt -dl -d -a -p -fp -hp -sm -mt -st -cp -hb -b"
    ),
    "inference_cli": (
        "--gpt_model --sovits_model --ref_audio --ref_text --ref_language --target_text"
        " --target_language --output_path"
    ),
}


@pytest.mark.parametrize("where", OPTIONS)
def test_every_option_has_a_row(where: str) -> None:
    text = DOC.read_text(encoding="utf-8")
    text = text[text.index("## Options of the original") :]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    named = {word for row in rows for word in re.split(r"[`\s,()]+", row)}
    assert not set(OPTIONS[where].split()) - named
