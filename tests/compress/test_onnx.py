"""The exported chain says what the model says, within rounding."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from voxray.bundle import Bundle  # noqa: E402
from voxray.compress.onnx_export import export  # noqa: E402
from voxray.compress.onnx_runner import Chain, pulse_train, sample  # noqa: E402
from voxray.compress.student import with_student  # noqa: E402
from voxray.config import StudentConfig  # noqa: E402
from voxray.models.calibration import neutral  # noqa: E402
from voxray.models.decoder_istft import pulse_train as torch_pulses  # noqa: E402
from voxray.models.memory import Memory  # noqa: E402
from voxray.models.student import Student  # noqa: E402

IDS = [5, 9, 7, 8, 6, 11, 4]


@pytest.fixture(scope="module")
def bundle(tiny: Bundle) -> Bundle:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return with_student(tiny, Student(StudentConfig(width=32, text_width=16)))


@pytest.fixture(scope="module")
def chain(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the exporter's notes are nobody's business
        return Chain(export(bundle, tmp_path_factory.mktemp("onnx")))


def test_pulses_are_the_models() -> None:
    f0 = np.array([0, 0, 120, 125, 130, 0, 90, 95], np.float32)
    wanted = torch_pulses(torch.from_numpy(f0)[None], 240, 24_000)[0].numpy()
    assert np.abs(pulse_train(f0, 240, 24_000) - wanted).max() < 2e-3


@pytest.mark.slow
@torch.inference_mode()
def test_tokens_come_out_with_the_same_logits(bundle: Bundle, chain: Chain) -> None:
    tokens = [3, 77, 500, 12]
    wanted = bundle.gpt(torch.tensor([IDS]), torch.tensor([len(IDS)]), torch.tensor([tokens]))[0]
    keys, values = chain.run("text", ids=np.array([IDS], np.int64))
    state = [np.zeros((1, 1, 32), np.float32)] * 4
    for step, token in enumerate([chain.facts["end"], *tokens]):
        logits, pattern, *state = chain.run(
            "step", token=np.array([token], np.int64), keys=keys, values=values,
            bias=np.zeros((1, 1, 1, len(IDS)), np.float32),
            **dict(zip(("h1", "c1", "h2", "c2"), state, strict=True)),
        )  # fmt: skip
        assert np.abs(logits[0] - wanted[step].numpy()).max() < 1e-4
        assert pattern.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
@torch.inference_mode()
def test_speech_is_the_models(bundle: Bundle, chain: Chain) -> None:
    dice = np.random.default_rng(0)
    tokens, path = [3, 77, 500, 12, 9, 40, 41, 42, 43], [0, 0, 1, 2, 3, 4, 5, 6, 6]
    config = bundle.generator.config
    speaker = dice.standard_normal(config.speaker.speaker_width).astype(np.float32)
    noise = dice.standard_normal((1, config.prior.latent_channels, 18)).astype(np.float32)
    white = dice.standard_normal(18 * 480).astype(np.float32)
    ours = chain.speech(tokens, path, IDS, speaker, noise, white)
    rows = torch.from_numpy(white).view(18, 480).t()[None]
    made = bundle.generator.decode(
        torch.tensor([tokens]), torch.tensor([IDS]), torch.from_numpy(speaker)[None],
        torch.cat([torch.from_numpy(noise), rows], dim=1), pointer=torch.tensor([path]),
    )  # fmt: skip
    wanted = made.audio[0].numpy()
    assert ours.shape == wanted.shape
    assert np.abs(ours - wanted).max() < 1e-2 * max(1e-3, np.abs(wanted).max())


@pytest.mark.slow
@torch.inference_mode()
def test_speech_with_a_memory_is_the_models(remembering: Bundle, tmp_path: Path) -> None:
    """Remembered frames of any number are heard; none are the same as no memory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle = with_student(remembering, Student(StudentConfig(width=32, text_width=16)))
    chain = Chain(export(bundle, tmp_path / "onnx"))
    dice = np.random.default_rng(0)
    config = bundle.generator.config
    tokens, path = [3, 77, 500, 12, 9, 40, 41], [0, 0, 1, 2, 3, 4, 5]
    speaker = dice.standard_normal(config.speaker.speaker_width).astype(np.float32)
    noise = np.zeros((1, config.prior.latent_channels, 14), np.float32)
    white = dice.standard_normal(14 * 480).astype(np.float32)
    rows = torch.from_numpy(white).view(14, 480).t()[None]
    made = []
    for count in (0, 11, 30):
        frames = (
            dice.integers(0, 1024, count),
            dice.standard_normal((config.prior.latent_channels, 2 * count)).astype(np.float32),
        )
        if count == 30:
            unlike = neutral(1, config.prior.latent_channels, config.prior.input_channels)[
                0
            ].numpy()
            moved = unlike + 0.05 * dice.standard_normal(unlike.shape)
            frames = (*frames, moved.astype(np.float32))
        ours = chain.speech(tokens, path, IDS, speaker, noise, white, frames)
        rest = torch.from_numpy(frames[2])[None] if len(frames) > 2 else None
        memory = Memory(
            torch.from_numpy(frames[0])[None], torch.from_numpy(frames[1])[None], correction=rest
        )
        wanted = bundle.generator.decode(
            torch.tensor([tokens]), torch.tensor([IDS]), torch.from_numpy(speaker)[None],
            torch.cat([torch.from_numpy(noise), rows], dim=1), pointer=torch.tensor([path]),
            memory=memory,
        ).audio[0].numpy()  # fmt: skip
        assert np.abs(ours - wanted).max() < 1e-2 * max(1e-3, np.abs(wanted).max())
        made.append(ours)
    assert np.array_equal(made[0], chain.speech(tokens, path, IDS, speaker, noise, white))
    assert np.abs(made[0] - made[1]).max() > 2e-2 * np.abs(made[1]).max()
    with pytest.raises(ValueError, match="11 tokens of a reference have latents of 96 x 22"):
        chain.speech(tokens, path, IDS, speaker, noise, white, (np.zeros(11), np.zeros((96, 2))))


@pytest.mark.slow
def test_a_chain_speaks_a_sentence_and_the_same_for_a_seed(chain: Chain) -> None:
    speaker = np.random.default_rng(1).standard_normal(chain.facts["speaker"]).astype(np.float32)
    one, other = (chain.say(IDS, speaker, seed=3) for _ in range(2))
    assert one.tokens == other.tokens
    assert len(one.audio) == 960 * len(one.tokens)
    assert (np.diff(one.path) >= 0).all()


def test_the_end_is_only_drawn_where_it_may_be() -> None:
    logits = np.zeros(20, np.float32)
    logits[19] = 50.0
    dice = np.random.default_rng(0)
    assert sample(logits, dice, 1.0, 19, may_end=True) == 19
    assert sample(logits, dice, 1.0, 19, may_end=False) != 19


def test_only_the_small_chain_is_exported(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only the LSTM student"):
        export(replace(tiny), tmp_path)
