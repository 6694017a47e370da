"""The models that `family_speed.py` measures: published ones on repeatable random weights.

`bundle_of(version, setting)` gives the one model of a version in a setting; one version's weights are
kept at a time. `random_voice` and `exactly` say with what voice and options it speaks. `random_encoders(folder)` writes HuBERT-base and RoBERTa-large (22 layers are read) with
random weights, for memory.
"""

from __future__ import annotations

import gc
import os
from functools import lru_cache
from pathlib import Path

import torch
from parity import Weights

from voxray.bundle import Bundle, FamilyBundle
from voxray.config import BundleConfig
from voxray.convert import presets
from voxray.convert.family import build_generator, build_gpt, build_quantiser
from voxray.models.packed_conv import best_kind
from voxray.pipeline import SynthesisOptions
from voxray.voice import Voice

ROOT = Path(__file__).resolve().parents[1]
PARITY = Path(os.environ.get("VOXRAY_PARITY", ROOT.parent / "shared" / "parity"))
KIND = str(best_kind()).removeprefix("torch.")  # bfloat16 where the processor multiplies that
TABLES = {"v2": "s2_v2.json", "v2proplus": "s2_v2ProPlus.json"}


def settings_of() -> dict[str, str]:
    """What each setting is."""
    return {
        "plain": "eager float32, weight norm computed in every pass, cache concatenated",
        "float32": "weight norm folded, cache allocated ahead",
        "fast": "GPT weights packed as fp16, steps recorded; the decoder's channels side by side, in "
        f"{KIND} here (the default of published models)",
        "int8": "as fast, but the GPT's weights and inputs rounded to 8 bits",
    }


@lru_cache(maxsize=1)
def _weights(version: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    store = Weights(PARITY)
    return store.table("s1_v2.json", 0), store.table(TABLES[version], 0)


@lru_cache(maxsize=1)
def bundle_of(version: str, setting: str) -> Bundle:
    """A version's model in a setting; "mini" is the built-in one. The one before is dropped."""
    gc.collect()
    precision = setting if setting in ("fast", "int8") else "float32"
    if version == "mini":
        from voxray.packaged import BUILTIN

        return Bundle.load(BUILTIN / "mini", precision=precision)  # type: ignore[arg-type]
    speech, sound = _weights(version)
    sound = {name: t for name, t in sound.items() if not name.startswith("enc_q.")}
    generator = build_generator(version, sound)
    gpt = build_gpt(version, speech)
    config = BundleConfig(
        name=version,
        version=version,
        gpt=gpt.config,
        content=presets.QUANTISER,
        generator=generator.config,
    )
    bundle = FamilyBundle(config, gpt, generator, torch.nn.Identity(), build_quantiser(sound))
    if setting == "bf16":
        bundle.gpt.to(torch.bfloat16)
    if setting != "plain":  # plain: weight norm stays
        bundle.ready(precision)  # type: ignore[arg-type]
    return bundle


def random_encoders(folder: Path) -> Path:
    """Encoders of the published shapes in a folder, as `Pretrained` wants them."""
    from transformers import BertConfig, BertModel, BertTokenizerFast, HubertConfig, HubertModel

    from voxray.pretrained import HUBERT, ROBERTA

    # The published files are fp16.
    HubertModel(HubertConfig()).half().save_pretrained(folder / HUBERT)
    large = BertConfig(
        vocab_size=21128,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
    )
    BertModel(large).half().save_pretrained(folder / ROBERTA)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(0x4E00, 0x9000))]
    listed = folder / ROBERTA / "vocab.txt"
    listed.write_text("\n".join(words[:21128]), encoding="utf-8")
    BertTokenizerFast(str(listed)).save_pretrained(folder / ROBERTA)
    gc.collect()
    return folder


def random_voice(bundle: Bundle) -> Voice:
    """Somebody, always the same."""
    width = bundle.generator.config.speaker.speaker_width
    return Voice("random", torch.randn(width, generator=torch.Generator().manual_seed(1)) / 10)


def exactly(tokens: int, language: str) -> SynthesisOptions:
    """Options for speech of so many tokens, neither more nor fewer."""
    return SynthesisOptions(language=language, seed=1, floor=tokens, max_tokens=tokens)
