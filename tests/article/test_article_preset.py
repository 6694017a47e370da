"""The `article` preset from a store to speech, tiny: language model, frozen start, joint tuning, the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from conftest import speechlike  # noqa: E402
from voxray.article.bundle import ArticleBundle, is_article  # noqa: E402
from voxray.article.text import BytePairs, fresh_encoder, known_encoder  # noqa: E402
from voxray.config import (  # noqa: E402
    ArticleConfig,
    ArticlePosteriorConfig,
    FlowConfig,
    IstftDecoderConfig,
    SpeakerConfig,
)
from voxray.engine import tts  # noqa: E402
from voxray.models.article import Article  # noqa: E402
from voxray.train.article import (  # noqa: E402
    ArticleTraining,
    LanguageTraining,
    language_loss,
    train_article,
    train_language,
)
from voxray.train.pitch import f0_track  # noqa: E402
from voxray.train.store import Entry, write_index  # noqa: E402
from voxray.voice import Voice  # noqa: E402

TINY = ArticleConfig(
    text_symbols=300, text_hidden=24, text_layers=1, text_heads=2, text_positions=64, text_width=16,
    speaker=SpeakerConfig(hidden=16, speaker_width=16),
    posterior=ArticlePosteriorConfig(conv_width=16, gru_width=16, latent_channels=12, codebook_size=8),
    flow=FlowConfig(channels=16, hidden=16, layers=1, couplings=2, speaker_width=16),
    decoder=IstftDecoderConfig(latent_channels=16, width=16, layers=1), duration_hidden=8,
)  # fmt: skip
FEW = ArticleTraining(
    model=TINY, lm=LanguageTraining(steps=2, batch=2), steps=4, batch=2, log_every=1, save_every=1,
    validate_every=1, patience=1, gain=0.9,
)  # fmt: skip
TEXTS = ("the boats came home", "nobody knew the way", "she keeps old letters", "we walked along")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder, entries, waves, at = tmp_path / "store", [], [], 0
    folder.mkdir()
    for n, text in enumerate(TEXTS):
        wave = (np.roll(speechlike(1.92, 24_000), 5000 * n) * 20_000).astype("<i2")
        split = "dev" if n == 3 else "train"
        entries.append(Entry(f"c{n}", "a", "en", text, split, 12_000, False, at, len(wave)))
        waves.append(wave)
        at += len(wave)
    np.concatenate(waves).tofile(folder / "wave.i16")
    tracks = [f0_track(w.astype(np.float32) / 32768).astype(np.float16) for w in waves]
    np.concatenate(tracks).tofile(folder / "f0.f16")
    write_index(folder, entries)
    return folder


def test_symbols_keep_every_character(tmp_path: Path) -> None:
    pairs = BytePairs.learn([*TEXTS, "你好，世界"], 300)
    pairs.save(tmp_path / "tokenizer.json")
    read = BytePairs.load(tmp_path / "tokenizer.json")("the  boats, 好!")
    assert read.ids[0] == pairs.start
    covered = {place for begin, end in read.spans for place in range(begin, end)}
    assert covered == set(range(len("the  boats, 好!")))
    assert read.spans[-1][1] == len("the  boats, 好!")


def test_the_text_encoder_learns_the_texts(tmp_path: Path) -> None:
    pairs = BytePairs.learn(TEXTS, 300)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = fresh_encoder(TINY)
    rows = [pairs(text).ids for text in TEXTS]
    before = float(language_loss(encoder, rows).detach())
    config = LanguageTraining(steps=15, batch=4, rate=1e-2, warmup=1, ema=0.5)
    train_language(encoder, pairs, TEXTS, tmp_path / "lm", config)
    assert float(language_loss(encoder, rows).detach()) < before - 0.5


def test_it_trains_frozen_then_jointly_and_speaks_through_the_gate(
    store: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    made = train_article(store, tmp_path / "out", FEW, said.append)
    assert any("joint tuning begins" in line for line in said)
    folder = tmp_path / "out" / "model"
    assert is_article(folder)
    again = ArticleBundle.load(folder)
    vector = again.speaker_vector(speechlike(2.0), 16_000)
    assert torch.allclose(vector, made.speaker_vector(speechlike(2.0), 16_000), atol=0.05)
    voice = Voice("someone", vector, model="article")
    speech = tts("The boats came home. Nobody knew!", voice, model=folder, seed=5)
    assert speech.model == "article"
    assert [word.text for word in speech.words] == "The boats came home. Nobody knew!".split()
    starts = [word.start_s for word in speech.words]
    assert starts == sorted(starts)
    same = tts("The boats came home. Nobody knew!", voice, model=folder, seed=5)
    assert np.array_equal(speech.latents, same.latents)  # audio: before the mark
    with pytest.raises(ValueError, match="converts no recordings"):
        tts.pipeline(folder).convert(speechlike(1.0), 16_000, voice, None)  # type: ignore[arg-type]


def test_the_encoder_stands_still_while_it_is_frozen(store: Path, tmp_path: Path) -> None:
    config = FEW.model_copy(update={"patience": 99, "lm": LanguageTraining(steps=1, batch=2)})
    train_article(store, tmp_path / "frozen", config)
    lm = torch.load(tmp_path / "frozen" / "lm" / "state.pt", weights_only=True)
    sovits = torch.load(tmp_path / "frozen" / "sovits" / "state.pt", weights_only=True)
    average = {k.split(".", 1)[1]: v for k, v in lm["average"].items()}
    frozen = sovits["modules"]["encoder"]
    assert all(torch.equal(frozen[k], v) for k, v in average.items())


def test_what_is_no_gpt2_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no GPT-2 in"):
        known_encoder(str(tmp_path))
    assert not is_article(tmp_path)
    assert isinstance(Article(TINY), torch.nn.Module)
