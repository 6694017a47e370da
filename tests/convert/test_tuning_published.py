"""Published models are tuned: what learns and what stands still, what the losses are of, and the files go back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_every_round_trip import SMALL
from test_matching_round_trip import V4, lora, saved, speech
from test_round_trip import CONFIG, GPT, QUANTISER, V2, weights
from torch import Tensor, nn

from conftest import speechlike
from voxray.bundle import Bundle, FamilyBundle
from voxray.convert import names, presets
from voxray.convert.assemble import convert
from voxray.convert.export import export
from voxray.convert.reader import read
from voxray.engine import tts
from voxray.train import tuning_published
from voxray.train.slices import Slice
from voxray.train.training_file import training_parts
from voxray.train.tuning import Tuning, tune
from voxray.train.tuning_published import Clips, published_part
from voxray.train.voice_store import WIDE, write_store
from voxray.voice import Voice

WIDER = V4.model_copy(
    update={
        "matching": V4.matching.model_copy(
            update={"transformer": V4.matching.transformer.model_copy(update={"n_mels": 100})}
        ),
        "vocoder": V4.vocoder.model_copy(update={"input_channels": 100}),
    }
)
FEW = Tuning(generator_steps=4, batch=1, check_every=2, save_every=1, warmup=1)
TEXTS = ("the boats came home", "nobody knew the way", "we walked until it was dark")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "GPT", GPT)
    monkeypatch.setattr(presets, "QUANTISER", QUANTISER)
    monkeypatch.setitem(presets.GENERATORS, "v2", V2)
    monkeypatch.setitem(presets.GENERATORS, "v2pro", SMALL["v2pro"])
    monkeypatch.setitem(presets.MATCHING, "v4", WIDER)
    monkeypatch.setattr("test_matching_round_trip.V4", WIDER)  # of its `lora`

    def heard(self: FamilyBundle, wave: Tensor) -> Tensor:
        frames = len(wave) // 320
        return 30 * wave[: frames * 320].reshape(1, frames, 320)[:, :, :24]

    monkeypatch.setattr(FamilyBundle, "features", heard)
    monkeypatch.setattr(
        "voxray.pretrained.Pretrained.verification",
        SimpleNamespace(embed=lambda wave: wave[:, :16].float()),
    )


def sound(folder: Path, version: str, posterior: bool = True) -> Path:
    config: Any = {"v2": V2, "v2pro": SMALL["v2pro"], "v4": WIDER}[version]
    if version == "v4":
        table = dict(names.matching(config))
    else:
        table = dict(names.generator(config, posterior=posterior))
    tensors = weights(table)
    tensors["quantizer.vq.layers.0._codebook.inited"] = torch.ones(1).half()
    tag = {"v2": "PK", "v2pro": "05", "v4": "PK"}[version]
    content = {
        "weight": tensors,
        "config": CONFIG | {"model": {"version": version}},
        "info": "base",
    }
    return saved(folder / f"{version}.pth", content, tag)


def converted(folder: Path, version: str, posterior: bool = True, tuned: bool = False) -> Path:
    files = [speech(folder), sound(folder, version, posterior)]
    if version == "v4":
        files.append(
            saved(folder / "vocoder.pth", weights(dict(names._hifigan("", WIDER.vocoder))))
        )
    if tuned:
        files.append(lora(folder))
    convert(files, folder / "voice", version="v4" if version == "v4" else None)
    return folder / "voice"


def pieces() -> list[Slice]:
    made = []
    for number, text in enumerate(TEXTS):
        wave = np.roll(speechlike(3.2), 4_000 * number) * (1 + number / 10) * 0.3
        made.append(Slice(f"c{number}", Path("x.wav"), 0.0, wave.astype(np.float32), 16_000, text))
    return made


def opened(folder: Path) -> Bundle:
    bundle = Bundle.load(folder, precision="float32")
    torch.manual_seed(1)
    for parameter in bundle.generator.parameters():  # files of the tests are nearly all zeros
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return bundle


def before_and_after(
    folder: Path, version: str, config: Tuning = FEW, **more: Any
) -> tuple[dict[str, Tensor], Bundle, Path]:
    model = converted(folder, version, **more)
    bundle = opened(model)
    store = write_store(folder / "store", bundle, pieces()[:2], pieces()[2:])
    first = {name: t.clone() for name, t in bundle.generator.state_dict().items()}
    posterior, _ = training_parts(model, bundle)
    tune(bundle, store, folder / "run", config, only="generator", posterior=posterior)
    return first, bundle, store


def moved(first: dict[str, Tensor], bundle: Bundle) -> dict[str, float]:
    """By part, the largest change of a weight."""
    parts: dict[str, float] = {}
    for name, tensor in bundle.generator.state_dict().items():
        part = ".".join(name.split(".")[:2]) if name.startswith("prior") else name.split(".")[0]
        change = (
            float((tensor.float() - first[name].float()).abs().max()) if tensor.numel() else 0.0
        )
        parts[part] = max(parts.get(part, 0.0), change)
    return parts


def speaks(bundle: Bundle, **voice: Any) -> None:
    reference = Voice.heard("tuned", speechlike(4.0), 16_000, bundle, **voice)
    made = tts("No. It was dark.", reference, model=bundle, seed=1, max_tokens=20)
    assert np.isfinite(made.audio).all() and len(made.audio)


# --- v1, v2, Pro ----------------------------------------------------------------------------------


def test_all_but_the_decoder_learns(tmp_path: Path) -> None:
    first, bundle, _ = before_and_after(tmp_path, "v2")
    changed = moved(first, bundle)
    assert changed["decoder"] == 0.0 and bundle.generator.posterior is None
    assert changed["flow"] > 0 and changed["speaker"] > 0 and changed["prior.joint_encoder"] > 0
    assert 0 < changed["prior.text_encoder"] < 0.6 * changed["prior.joint_encoder"]
    speaks(bundle)
    bundle.save(tmp_path / "tuned")
    _, file = export(tmp_path / "tuned", tmp_path / "files")
    assert not any("enc_q" in name for name in read(file).tensors)  # as files of tuned voices are
    convert([tmp_path / "files" / f"{bundle.name}.ckpt", file], tmp_path / "again")
    again = Bundle.load(tmp_path / "again", precision="float32").generator.state_dict()
    for name, tensor in bundle.generator.state_dict().items():
        torch.testing.assert_close(again[name], tensor, atol=2e-3, rtol=2e-3)  # fp16


def test_it_learns_what_it_hears(tmp_path: Path) -> None:
    settings = FEW.model_copy(update={"generator_steps": 24, "check_every": 12, "ema": 0.5})
    model = converted(tmp_path, "v2")
    bundle = opened(model)
    store = write_store(tmp_path / "store", bundle, pieces()[:2], pieces()[2:])
    posterior, _ = training_parts(model, bundle)
    bundle.generator.posterior = posterior  # type: ignore[union-attr]
    start = published_part(bundle, store, settings, None).check()
    bundle.generator.posterior = None  # type: ignore[union-attr]
    rows = tune(bundle, store, tmp_path / "run", settings, only="generator", posterior=posterior)
    assert rows["generator"]["step"] > 0 and rows["generator"]["score"] > start["score"]
    assert set(start) == {"score", "mel", "kl"}


def test_a_killed_run_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole, store = before_and_after(tmp_path, "v2")
    losses, calls = tuning_published._Variational.losses, [0]

    def killed(self: Any, clip: Any, dice: torch.Generator) -> dict[str, Tensor]:
        calls[0] += torch.is_grad_enabled()
        if calls[0] == 3:
            raise KeyboardInterrupt
        return losses(self, clip, dice)

    for attempt in range(2):
        bundle = opened(tmp_path / "voice")
        posterior, _ = training_parts(tmp_path / "voice", bundle)
        if attempt == 0:
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(tuning_published._Variational, "losses", killed)
                tune(bundle, store, tmp_path / "cut", FEW, only="generator", posterior=posterior)
        else:
            tune(bundle, store, tmp_path / "cut", FEW, only="generator", posterior=posterior)
    for name, tensor in whole.generator.state_dict().items():
        torch.testing.assert_close(bundle.generator.state_dict()[name], tensor, msg=name)


def test_without_a_posterior_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="enc_q"):
        before_and_after(tmp_path, "v2", posterior=False)


def test_pro_hears_the_verification_network(tmp_path: Path) -> None:
    first, bundle, store = before_and_after(tmp_path, "v2pro")
    assert moved(first, bundle)["fusion"] > 0
    assert isinstance(bundle, FamilyBundle)
    clip = Clips(store, bundle, "dev")[0]
    assert clip.embedding is not None and clip.embedding.shape == (1, 16)
    assert clip.wave.shape[1] == 1280 * clip.tokens.shape[1]
    (store / WIDE).unlink()
    with pytest.raises(ValueError, match="prepare it again"):
        Clips(store, bundle, "train")


# --- v3, v4 ---------------------------------------------------------------------------------------


@pytest.fixture
def matching(tmp_path: Path) -> Iterator[tuple[Bundle, Path]]:
    bundle = opened(converted(tmp_path, "v4"))
    yield bundle, write_store(tmp_path / "store", bundle, pieces()[:2], pieces()[2:])


def test_the_attention_gets_adapters(tmp_path: Path) -> None:
    first, bundle, _ = before_and_after(tmp_path, "v4", FEW.model_copy(update={"rank": 2}))
    changed = moved(first, bundle)
    still = [part for part in changed if part.startswith("prior")]
    assert still and all(changed[part] == 0.0 for part in (*still, "vocoder"))
    assert changed["bridge"] > 0 and changed["speaker"] > 0
    for name, tensor in bundle.generator.state_dict().items():
        if not name.startswith("cfm."):
            continue
        difference = (tensor - first[name]).float()
        if ".attn." in name and name.endswith("weight"):
            assert 1 <= int(torch.linalg.matrix_rank(difference, rtol=1e-4)) <= 2, name
        else:
            assert not difference.any(), name


@pytest.mark.parametrize("tuned", [False, True])
def test_a_tuned_v4_goes_back_whole(tmp_path: Path, tuned: bool) -> None:
    _, bundle, _ = before_and_after(tmp_path, "v4", tuned=tuned)
    bundle.save(tmp_path / "tuned")
    _, file = export(tmp_path / "tuned", tmp_path / "files")
    made = read(file)
    assert made.lora_rank is None and made.tag == "PK"
    assert made.tensors.keys() == read(tmp_path / "v4.pth").tensors.keys()
    again = Bundle.load(tmp_path / "tuned")
    assert "lora_rank" not in again.config.origin["s2"]


def test_the_true_field_costs_nothing(
    matching: tuple[Bundle, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the velocity is that of straight lines to the recording there is nothing to learn, at any step."""
    bundle, store = matching
    assert isinstance(bundle, FamilyBundle)
    part = published_part(bundle, store, FEW.model_copy(update={"batch": 2}), None)
    steps, goal = set(), {}

    def conditions(condition: Tensor, prompt: Tensor, guidance: float) -> Any:
        assert guidance == 0.0 and prompt.shape[2] <= condition.shape[2] * 2 / 3 + 1
        return SimpleNamespace(given=prompt.shape[2])

    def true(x: Tensor, known: Any, time: float, step: float) -> Tensor:
        steps.add(step)
        assert not x[:, : known.given].any() and 0.0 <= time <= 1.0 - step + 1e-6
        return (goal["mel"].transpose(1, 2) - x) / (1 - time)

    cfm: Any = bundle.generator.cfm  # type: ignore[union-attr]
    monkeypatch.setattr(cfm, "conditions", conditions)
    monkeypatch.setattr(cfm, "velocity_at", true)
    heard = published_part.__globals__["vocoder_mel"]

    def remembered(wave: Tensor, rate: int) -> Tensor:
        mel = heard(wave, rate)
        goal["mel"] = published_part.__globals__["scaled"](mel)
        return mel

    monkeypatch.setitem(published_part.__globals__, "vocoder_mel", remembered)
    for number in range(12):
        assert float(part.losses(number)["velocity"]) < 1e-5
    assert 0.0 in steps and any(step > 0 for step in steps)


def test_dropout_is_off(
    matching: tuple[Bundle, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, store = matching
    layers = [m for m in bundle.generator.modules() if isinstance(m, nn.Dropout)]
    losses, seen = tuning_published._Matching.losses, set()

    def watched(self: Any, clip: Any, dice: torch.Generator) -> dict[str, Tensor]:
        seen.update(layer.p for layer in layers)
        return losses(self, clip, dice)

    monkeypatch.setattr(tuning_published._Matching, "losses", watched)
    once = FEW.model_copy(update={"generator_steps": 1})
    tune(bundle, store, tmp_path / "run", once, only="generator")
    assert layers and seen == {0.0}
