"""Encoders from a local folder: HuBERT and RoBERTa of the real classes, small, stored as fp16."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from voxray.bundle import FamilyBundle
from voxray.models.packed import can_pack, is_packed
from voxray.pretrained import HUBERT, ROBERTA, Pretrained
from voxray.text.published import PublishedPipeline

transformers = pytest.importorskip("transformers")
HAN = "今天气很好他说"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    place = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    hubert = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.HubertModel(hubert).half().save_pretrained(place / HUBERT)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", *HAN]
    bert = transformers.BertConfig(
        vocab_size=len(words), hidden_size=128, num_hidden_layers=5, num_attention_heads=2,
        intermediate_size=128,
    )  # fmt: skip
    transformers.BertModel(bert).half().save_pretrained(place / ROBERTA)
    pieces = models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(pieces)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
        pad_token="[PAD]",
    )  # fmt: skip
    fast.save_pretrained(place / ROBERTA)
    return place


@torch.inference_mode()
def test_hubert_computes_in_float32_from_an_fp16_file(folder: Path) -> None:
    encoders = Pretrained(folder)
    features = encoders.features(torch.randn(16_000))
    assert features.shape == (1, 49, 16) and features.dtype == torch.float32
    assert encoders.hubert.dtype == torch.float32


def reference(folder: Path, ids: list[int]) -> Tensor:
    """The third state from the end of the whole model, without its first and last row."""
    whole = transformers.BertModel.from_pretrained(folder / ROBERTA).float().eval()
    with torch.inference_mode():
        return whole(torch.tensor([ids]), output_hidden_states=True).hidden_states[-3][0, 1:-1]


def test_roberta_stops_at_the_wanted_layer(folder: Path) -> None:
    context = Pretrained(folder).roberta
    assert context.model.config.num_hidden_layers == 3  # of five
    states = context("今天,好", [(0, 1), (1, 2), (2, 3), (3, 4)])
    wanted = reference(folder, [2, 7, 8, 5, 11, 3])
    assert states.dtype == torch.float32 and torch.allclose(states, wanted, atol=1e-5)


@pytest.mark.skipif(not can_pack(), reason="this processor has no packed kernels")
def test_packed_roberta_is_close(folder: Path) -> None:
    packed = Pretrained(folder, packed=True).roberta
    assert is_packed(packed.model)
    wanted = reference(folder, [2, 7, 8, 3])
    assert torch.allclose(packed("今天", [(0, 1), (1, 2)]), wanted, atol=1e-3)


@pytest.mark.skipif(not can_pack(), reason="this processor has no packed kernels")
def test_packed_encoders_are_not_held_both_at_once(folder: Path) -> None:
    wave = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    exact, packed = Pretrained(folder), Pretrained(folder, packed=True)
    wanted, heard = exact.features(wave), packed.features(wave)
    assert torch.allclose(heard, wanted, atol=1e-4)
    for encoders, kept in ((exact, True), (packed, False)):
        _ = encoders.roberta
        assert ("hubert" in vars(encoders)) == kept
    assert torch.equal(packed.features(wave), heard)  # opened again


def test_mandarin_features_follow_the_normalised_text(folder: Path) -> None:
    phonemes = PublishedPipeline()("今天很好，said he，他说", "zh")
    config = SimpleNamespace(gpt=SimpleNamespace(context_width=128))
    bundle = SimpleNamespace(config=config, encoders=Pretrained(folder))
    features = FamilyBundle.context(bundle, phonemes)  # type: ignore[arg-type]
    assert features is not None and features.shape == (len(phonemes), 128)
    han = [i for i, item in enumerate(phonemes.items) if item.language == "zh" and item.word >= 0]
    english = [i for i, item in enumerate(phonemes.items) if item.language == "en"]
    assert english and not features[english].any()
    first = reference(folder, [2, 7, 8, 10, 11, 5, 3])  # 今天很好, read by itself
    assert torch.allclose(features[han[:8]], first[:4].repeat_interleave(2, dim=0), atol=1e-5)
    bundle.encoders = Pretrained(folder / "empty")
    assert not FamilyBundle.context(bundle, phonemes).any()  # type: ignore[arg-type, union-attr]


def test_what_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="voxray pull encoders"):
        _ = Pretrained(tmp_path).hubert
