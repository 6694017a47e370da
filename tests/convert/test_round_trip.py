"""Published files -> voxray folder -> published files, and speech from the folder in between.

The files are small ones of our own making: their names and layout are the published ones, their axes
short wherever the version is not told by them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import speechlike
from voxray import audio
from voxray.bundle import Bundle, FamilyBundle
from voxray.convert import names, presets
from voxray.convert.assemble import convert
from voxray.convert.export import export
from voxray.convert.reader import read
from voxray.engine import tts
from voxray.models import packed_conv
from voxray.sites import attach, record, sites
from voxray.voice import Voice

GPT = presets.GPT.model_copy(update={"width": 32, "n_layer": 2, "n_head": 2, "context_width": 8})
SMALL = {"hidden": 16, "layers": 1}
V2 = presets.V2.model_copy(
    update={
        "codebook_size": 1024,
        "prior": presets.PRIOR.model_copy(
            update={
                "input_channels": 24, "hidden": 16, "filter": 16, "content_layers": 1,
                "text_layers": 1, "joint_layers": 1, "cross_width": 512, "latent_channels": 8,
            }
        ),
        "speaker": presets.SPEAKER.model_copy(update={"hidden": 16}),
        "flow": presets.V2.flow.model_copy(update={**SMALL, "channels": 8, "couplings": 4}),
        "posterior": presets.V2.posterior.model_copy(update={**SMALL, "latent_channels": 8}),
        "decoder": presets.V2.decoder.model_copy(
            update={
                "input_channels": 8, "rates": (8, 80), "kernels": (8, 80), "block_kernels": (3, 3, 3), "block_dilations": (1,),
            }
        ),
    }
)  # fmt: skip
QUANTISER = presets.QUANTISER.model_copy(update={"width": 24, "code_width": 24})
CONFIG = {"data": {"sampling_rate": 32000, "sizes": [1, 2, 3]}, "model": {"version": "v2"}}


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "GPT", GPT)
        patch.setattr(presets, "QUANTISER", QUANTISER)
        patch.setitem(presets.GENERATORS, "v2", V2)
        yield


def weights(table: dict[str, tuple[int, ...]]) -> OrderedDict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return OrderedDict(
        (name, (0.1 * torch.randn(*shape, generator=generator)).abs().add(0.01).half())
        if name.endswith(("_g", "cluster_size", "inited"))
        else (name, (0.1 * torch.randn(*shape, generator=generator)).half())
        for name, shape in table.items()
    )


def files(folder: Path, *, posterior: bool = False) -> tuple[Path, Path]:
    speech = weights(dict(names.gpt(GPT)))
    sound = weights(dict(names.generator(V2, posterior=posterior)))
    sound["quantizer.vq.layers.0._codebook.inited"] = torch.ones(1).half()
    paths = folder / "speaker-e15.ckpt", folder / "speaker.pth"
    for path, tensors, info in zip(
        paths, (speech, sound), ("GPT-e15", "8epoch_104iteration"), strict=True
    ):
        torch.save({"weight": tensors, "config": CONFIG, "info": info}, path)
    return paths


@pytest.mark.parametrize("posterior", [False, True])
def test_there_and_back(tmp_path: Path, posterior: bool) -> None:
    pair = files(tmp_path, posterior=posterior)
    config = convert(pair, tmp_path / "voice")
    assert config.version == "v2" and config.training == "GPT-e15 + 8epoch_104iteration"
    for before, after in zip(pair, export(tmp_path / "voice", tmp_path / "back"), strict=True):
        old, new = read(before), read(after)
        assert old.config == new.config and old.info == new.info
        assert old.tensors.keys() == new.tensors.keys()
        for name, tensor in old.tensors.items():
            assert tensor.dtype == new.tensors[name].dtype, name
            assert torch.equal(tensor, new.tensors[name]), name


def test_a_pair_must_be_a_pair(tmp_path: Path) -> None:
    speech, sound = files(tmp_path)
    for wrong, said in (
        ([speech], "SoVITS"),
        ([sound], "GPT"),
        ([sound, sound, speech], "both"),
    ):
        with pytest.raises(ValueError, match=said):
            convert(wrong, tmp_path / "voice")
    assert not (tmp_path / "voice").exists()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice folder from two published files."""
    folder = tmp_path_factory.mktemp("converted")
    convert(files(folder), folder / "voice")
    return folder / "voice"


class Ears:
    """Stands for the pretrained encoders."""

    def has(self, name: str) -> bool:
        return False

    def features(self, wave: Tensor) -> Tensor:
        count = (len(wave) - 80) // 320
        return torch.randn(1, count, 24, generator=torch.Generator().manual_seed(2))


def test_a_converted_voice_speaks(converted: Path, tmp_path: Path, recording: Path) -> None:
    bundle = Bundle.load(converted)
    assert isinstance(bundle, FamilyBundle)
    bundle.encoders = Ears()  # type: ignore[assignment]
    voice = Voice.from_file(recording, "some words", model=bundle)
    assert voice.speaker.shape == (512,)
    assert len(voice.prompt_tokens) == 114  # 4 s, and 0.6 s of silence
    assert voice.prompt_context is not None
    voice.save(tmp_path / "v.safetensors")
    again = Voice.load(tmp_path / "v.safetensors")
    first, second = (tts("Hello there.", v, model=bundle, seed=3) for v in (voice, again))
    assert first.sample_rate == 32_000 and np.abs(first.audio).max() > 0
    assert np.array_equal(first.latents, second.latents)  # the sound carries a mark of its record


@torch.inference_mode()
def test_every_site_of_a_converted_model_is_passed(converted: Path) -> None:
    bundle = Bundle.load(converted)
    models = {"gpt": bundle.gpt, "generator": bundle.generator, "quantiser": bundle.quantiser}
    text, tokens = torch.tensor([[3, 5, 7]]), torch.arange(6)[None]
    with record(models, "*") as seen:
        bundle.gpt.prefill(text, torch.tensor([3]), tokens)
        bundle.quantiser.embed(
            bundle.quantiser.codes(bundle.quantiser.project(torch.ones(1, 4, 24)))
        )
        speaker = bundle.generator.speaker_vector(torch.randn(1, 32_000))
        bundle.generator.decode(tokens, text, speaker, torch.zeros(1, 8, 12))
    assert seen.keys() == sites(models).keys()


def test_a_voice_of_another_model_is_refused(converted: Path, voice: Voice) -> None:
    with pytest.raises(ValueError, match="recording"):
        tts("Hello.", voice, model=converted)


def test_a_prompt_must_be_three_to_ten_seconds(converted: Path) -> None:
    bundle = Bundle.load(converted)
    with pytest.raises(ValueError, match="3-10 s"):
        bundle.prompt_tokens(speechlike(2.0), 16_000)


@pytest.mark.parametrize("precision", ["fast", "int8"])
def test_precision_is_a_switch(converted: Path, tmp_path: Path, precision: str) -> None:
    exact = Bundle.load(converted, precision="float32")
    quick = Bundle.load(converted, precision=precision)  # type: ignore[arg-type]
    assert (exact.precision, quick.precision) == ("float32", precision)
    assert sites({"gpt": exact.gpt, "generator": exact.generator}).keys() == (
        sites({"gpt": quick.gpt, "generator": quick.generator}).keys()
    )
    voice = Voice("nobody", torch.ones(512))
    first, second = (tts("Hello.", voice, model=b, seed=1) for b in (exact, quick))
    assert second.audio.dtype == np.float32 and second.sample_rate == first.sample_rate
    with pytest.raises(ValueError, match="precision='float32'"):
        quick.save(tmp_path / "saved")
    exact.save(tmp_path / "saved", half=False)
    again = Bundle.load(tmp_path / "saved", precision="float32").generator.state_dict()
    for name, tensor in exact.generator.state_dict().items():
        assert torch.equal(tensor, again[name]), name


@pytest.mark.parametrize("bf16", [False, True])
def test_the_decoder_is_packed_in_what_the_processor_multiplies(
    converted: Path, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_conv, "multiplies_bf16", lambda: bf16)
    kind = torch.bfloat16 if bf16 else torch.float32
    for precision in ("fast", "int8"):
        decoder = Bundle.load(converted, precision=precision).generator.sound
        packed = [m for m in decoder.modules() if isinstance(m, packed_conv.PackedConv)]
        assert packed and all(conv.weight.dtype == kind for conv in packed)
    decoder = Bundle.load(converted, precision="float32").generator.sound
    assert not any(isinstance(m, packed_conv.PackedConv) for m in decoder.modules())


def test_an_unknown_precision(converted: Path) -> None:
    with pytest.raises(ValueError, match="choose float32, fast, int8"):
        Bundle.load(converted, precision="half")  # type: ignore[arg-type]


def written(path: Path, seconds: float) -> Path:
    audio.write_audio(path, speechlike(seconds), 16_000)
    return path


@pytest.mark.parametrize("seconds", [1.2, 60.0])
def test_a_reference_of_another_length_is_refused(
    converted: Path, tmp_path: Path, seconds: float
) -> None:
    bundle = Bundle.load(converted)
    with pytest.raises(ValueError, match=f"{seconds:.2f} s long; need 3-10 s"):
        Voice.from_file(written(tmp_path / "me.wav", seconds), model=bundle)


def test_without_a_transcript_it_speaks_without_a_prompt(converted: Path, recording: Path) -> None:
    bundle = Bundle.load(converted)
    voice = Voice.from_file(recording, model=bundle)
    assert not voice.prompt_tokens and voice.prompt_context is None
    assert len(tts("Hello there.", voice, model=bundle, seed=1).tokens) >= 11


def test_several_references_are_averaged(converted: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(converted)
    waves = [written(tmp_path / f"{s}.wav", s) for s in (3.5, 4.0, 5.0)]
    first, *rest = (Voice.from_file(wave, model=bundle) for wave in waves)
    mean = first.averaged(rest)
    wanted = torch.stack([v.speaker for v in (first, *rest)]).mean(0)
    assert torch.equal(mean.speaker, wanted) and mean.name == first.name
    with pytest.raises(ValueError, match="different models"):
        first.averaged([Voice("other", torch.zeros(8))])


def sloped(x: Tensor) -> Tensor:
    """Halved, and different everywhere: a change that no softmax forgives."""
    return 0.5 * x + torch.linspace(0, 1, x.numel()).reshape(x.shape).to(x.dtype)


@torch.inference_mode()
def everything(bundle: Bundle) -> Tensor:
    """All that the model's halves give for one input, in one row."""
    text, tokens = torch.tensor([[3, 5, 7]]), torch.arange(6)[None]
    logits, cache = bundle.gpt.prefill(text, torch.tensor([3]), tokens)
    step = bundle.gpt.step(torch.tensor([4]), cache)
    quantiser = bundle.quantiser
    codes = quantiser.codes(quantiser.project(torch.linspace(-1, 1, 96).reshape(1, 4, 24)))
    wave = torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    speaker = bundle.generator.speaker_vector(wave)
    noise = torch.randn(1, 8, 12, generator=torch.Generator().manual_seed(1))
    made = bundle.generator.decode(tokens, text, speaker, noise)
    parts = (logits, step, quantiser.embed(codes), made.latents, made.audio)
    return torch.cat([part.flatten().float() for part in parts])


def test_an_edit_at_every_site_of_the_design_is_heard(converted: Path) -> None:
    bundle = Bundle.load(converted, precision="float32")
    models = {"gpt": bundle.gpt, "generator": bundle.generator, "quantiser": bundle.quantiser}
    there = sites(models).keys()
    attention = [f"attn.{part}" for part in "q k v bias pattern z".split()]
    wanted = {f"gpt.blocks.{i}.{part}" for i in (0, 1) for part in [*attention, "mlp", "resid"]}
    wanted |= {"gpt.embed", "gpt.logits", "generator.codes", "generator.speaker.vector"}
    wanted |= {f"generator.prior.{part}" for part in [*attention, "text", "mean", "log_std"]}
    wanted |= {f"generator.flow.couplings.{i}.out" for i in range(4)}
    wanted |= {f"generator.decoder.stages.{i}" for i in range(2)}
    assert wanted <= there
    plain = everything(bundle)
    for name in there:
        with attach(models, {name: sloped}):
            assert not torch.equal(everything(bundle), plain), name
    assert torch.equal(everything(bundle), plain)
