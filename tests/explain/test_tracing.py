"""A trace is the synthesis itself, opened: the same samples, and the attention the run had."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from voxray import explain, tts
from voxray.bundle import Bundle
from voxray.explain import replay
from voxray.sites import record
from voxray.voice import Voice

TEXT = "Hello there. Good day."


def options() -> dict[str, object]:
    return {"seed": 3, "max_tokens": 40}


@pytest.fixture(scope="module")
def traced(tiny: Bundle) -> explain.Trace:
    nobody = Voice("nobody", torch.randn(256, generator=torch.Generator().manual_seed(1)))
    return explain.trace(TEXT, nobody, model=tiny, **options())


def test_the_trace_holds_the_very_speech(tiny: Bundle, voice: Voice, traced) -> None:
    plain = tts(TEXT, voice, model=tiny, **options())
    assert np.array_equal(plain.latents, traced.synthesis.latents)  # the mark in the audio differs
    assert plain.tokens.tolist() == [t for p in traced.passages for t in p.passage.tokens]


def test_shapes_and_sums(tiny: Bundle, traced) -> None:
    assert len(traced.passages) == 2
    for part in traced.passages:
        tokens, phonemes = len(part.passage.tokens), len(part.passage.ids)
        assert part.attention.shape == (2, 2, tokens, phonemes)
        assert part.binding.shape == (2, 2, phonemes, phonemes)
        assert part.prior_attention.shape == (2, tokens, phonemes)
        assert part.logits.shape == (tokens, 1025)
        mass = part.attention.sum(3) + part.recent + part.earlier
        np.testing.assert_allclose(mass, 1, atol=5e-3)  # kept at half precision
        np.testing.assert_allclose(part.binding.sum(3), 1, atol=5e-3)
    assert len(traced.f0) == len(traced.level) > 10


def test_the_replay_attends_as_the_run_did(tiny: Bundle, voice: Voice) -> None:
    """Guided heads included: the watch's window stands where it stood."""
    with record(tiny.gpt, "blocks.*.attn.pattern") as seen:
        live = explain.trace("Hello there.", voice, model=tiny, **options())
    part = live.passages[0]
    tokens, phonemes = len(part.passage.tokens), len(part.passage.ids)
    for layer in range(2):
        steps = seen[f"blocks.{layer}.attn.pattern"]
        rows = [step[0, :, -1, :phonemes] for step in steps[:tokens]]  # prefill, then single steps
        np.testing.assert_allclose(
            torch.stack(rows, dim=1).numpy(), part.attention[layer], atol=1e-3
        )


def test_the_replayed_sound_is_the_sound(voice: Voice, traced) -> None:
    speech = traced.spoken
    wave, decoder = replay.sound(speech, speech.passages[0])
    latents = np.concatenate(decoder.latents, axis=1)
    assert np.array_equal(latents, traced.synthesis.latents[:, : latents.shape[1]])
    output = replay.decode(speech, speech.passages[0])
    plain = output.audio[0].detach().numpy().clip(-1, 1)
    np.testing.assert_allclose(plain, wave, atol=1e-4)


def test_a_style_reference_is_part_of_the_passage(tiny: Bundle, voice: Voice) -> None:
    from dataclasses import replace

    styled = replace(voice, prompt_tokens=(5, 6, 7), prompt_phonemes=(40, 41))
    made = explain.trace("Hello.", styled, model=tiny, **options())
    part = made.passages[0]
    assert part.passage.first == 2 and part.passage.prompt == (5, 6, 7)
    assert part.attention.shape[3] == len(part.passage.ids)
    assert (part.attention.sum(3) < 1).any()  # the rest lies on the reference


def test_other_text_is_refused(tiny: Bundle, voice: Voice, traced) -> None:
    from dataclasses import replace

    other = replace(traced.synthesis, text="Hi.")
    with pytest.raises(ValueError, match="other text"):
        replay.spoken(tts.pipeline(tiny), voice, traced.spoken.options, other)
