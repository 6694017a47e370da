"""Few-shot tuning on the tiny system: slices, reports, adapters, early stop, resuming after a kill."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from conftest import speechlike
from voxray.bundle import Bundle
from voxray.config import SpectralDiscriminatorConfig
from voxray.models.discriminators import SpectralDiscriminators
from voxray.train import training_file, tuning, tuning_generator
from voxray.train.adapters import adapt, merge
from voxray.train.clips import report_clips, split
from voxray.train.slices import Slice, cut, harvest, share_out
from voxray.train.speakers import SpeakerTeacher
from voxray.train.tuning import Tuning, gpt_part, tune
from voxray.train.voice_store import write_store

TEXTS = (
    "the boats came home before the storm",
    "nobody knew the way back to the village",
    "she keeps her old letters in a box",
    "we walked along the river until it was dark",
)
FEW = Tuning(
    generator_steps=4, gpt_steps=4, batch=2, segment_tokens=12, gpt_batch=2, check_every=2,
    save_every=1, warmup=1,
)  # fmt: skip


def pieces() -> list[Slice]:
    made = []
    for number, text in enumerate(TEXTS):
        wave = np.roll(speechlike(3.0), 4_000 * number) * (1 + number / 10)
        made.append(Slice(f"c{number}", Path("x.wav"), 0.0, wave.astype(np.float32), 16_000, text))
    return made


@pytest.fixture
def store(tiny: Bundle, tmp_path: Path) -> Path:
    return write_store(tmp_path / "store", tiny, pieces()[:3], pieces()[3:])


@pytest.fixture
def system(tiny: Bundle) -> Bundle:
    return copy.deepcopy(tiny)


def weights(bundle: Bundle) -> dict[str, torch.Tensor]:
    parts = {"gpt": bundle.gpt, "generator": bundle.generator}
    return {f"{n}.{k}": v.clone() for n, m in parts.items() for k, v in m.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- slices ---------------------------------------------------------------------------------------


def test_a_long_recording_is_cut_at_pauses_and_nothing_is_lost() -> None:
    wave = speechlike(40.0)
    spans = cut(wave, 16_000)
    assert [s.start for s in spans[1:]] == [s.stop for s in spans[:-1]]
    assert (spans[0].start, spans[-1].stop) == (0, len(wave))
    assert all(s.stop - s.start <= 12 * 16_000 for s in spans)
    level = np.abs(wave)
    for span in spans[1:]:
        assert level[span.start - 320 : span.start + 320].max() < 0.1 * level.max()


def test_a_text_is_shared_out_by_what_was_heard_and_no_word_is_lost() -> None:
    text = "The boats came home. Nobody knew the way back, so we walked."
    heard = ["the goats came home", "nobody new the way", "back so we walked"]
    parts = share_out(text, heard)
    assert " ".join(parts) == text
    assert parts[1].startswith("Nobody")
    assert parts[2] == "back, so we walked."


def test_transcripts_come_from_tables_and_bad_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "voice"
    folder.mkdir()
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", speechlike(3.0), 16_000)
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "short.wav", speechlike(0.4), 16_000)
    soundfile.write(folder / "still.flac", np.zeros(48_000), 16_000)
    table = tmp_path / "texts.tsv"
    table.write_text("a.wav\tHello there.\nb.wav\tNice to meet you.\n", encoding="utf-8")
    made = harvest(folder, table)
    assert [(s.name[0], s.text, s.given) for s in made.slices] == [
        ("a", "Hello there.", True),
        ("b", "Nice to meet you.", True),
    ]
    assert len(made.problems) == 3
    assert any("0 bytes" in p for p in made.problems)
    assert any("0.40 s" in p for p in made.problems)
    assert any("silent" in p for p in made.problems)
    heard = harvest(folder, None, lambda waves, language: ["what was heard"] * len(waves))
    assert {s.text for s in heard.slices} == {"what was heard"}
    with pytest.raises(ValueError, match="no transcript"):
        harvest(folder)
    table.write_text("z.wav\tHello\n", encoding="utf-8")
    with pytest.raises(ValueError, match="names none of the recordings"):
        harvest(folder, table)


def test_a_proof_read_table_is_taken_slice_by_slice(tmp_path: Path) -> None:
    from voxray.evaluate.fewshot import clips_table

    file, table = tmp_path / "long.wav", tmp_path / "clips.tsv"
    soundfile.write(file, speechlike(30.0), 16_000)
    found = harvest(file, None, lambda waves, language: ["wrong words"] * len(waves))
    assert len(found.slices) >= 3
    table.write_text(clips_table(found, report_clips(found.slices)), encoding="utf-8")
    rows = table.read_text(encoding="utf-8").split("\n")
    rows[1] = rows[1].replace("wrong words", "right words", 1)
    rows[2] = rows[2].replace("wrong words", "", 1)
    table.write_text("\n".join(rows), encoding="utf-8")
    again = harvest(file, table)
    assert again.slices[0].text == "right words"
    assert [s.name for s in again.slices] == [s.name for n, s in enumerate(found.slices) if n != 1]


# --- reports --------------------------------------------------------------------------------------


def test_faults_are_named_and_keep_a_clip_out() -> None:
    clips = pieces()
    hiss = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.1
    flat = np.clip(clips[0].wave * 8, -0.5, 0.5)
    clips = [
        *clips,
        replace(clips[0], name="twin", wave=clips[0].wave * 0.5),
        replace(clips[1], name="noise", wave=hiss),
        replace(clips[2], name="flat", wave=np.roll(flat, 9_000)),
        replace(clips[3], name="wrong", wave=np.roll(clips[3].wave, 6_000), given=True,
                heard="an entirely different sentence about ships"),
    ]  # fmt: skip
    reports = {r.name: r for r in report_clips(clips)}
    assert reports["twin"].duplicate_of == "c0"
    assert not reports["twin"].fit
    assert any("speech" in f or "noise" in f for f in reports["noise"].faults)
    assert any("clipped" in n for n in reports["flat"].notes)
    assert any("not what is said" in f for f in reports["wrong"].faults)
    assert reports["c0"].fit


def test_a_stranger_among_the_clips_is_found() -> None:
    clips = pieces()
    voices = {len(clips) - 1: np.array([0.0, 1.0], np.float32)}
    asked = iter(range(len(clips)))

    def embed(wave: Any) -> Any:
        return voices.get(next(asked), np.array([1.0, 0.1], np.float32))

    reports = report_clips(clips, embed)
    assert [r.fit for r in reports] == [True, True, True, False]
    assert "another speaker" in reports[-1].faults[0]


def test_the_split_takes_what_was_asked_for_and_never_trains_on_held_out_clips() -> None:
    clips = [replace(p, name=f"{p.name}{k}") for k in range(3) for p in pieces()]
    reports = report_clips(pieces()) * 3
    train, held = split(clips, reports, minutes=0.25)
    assert sum(p.seconds for p in train) <= 15.0
    assert held
    assert {p.name for p in train}.isdisjoint(p.name for p in held)
    for few in (2, 3):  # fewer than one in seven
        train, held = split(
            [replace(p, wave=np.tile(p.wave, 2)) for p in clips[:few]], reports[:few], 1
        )
        assert (len(train), len(held)) == (few - 1, 1)
    with pytest.raises(ValueError, match="8 s in two clips"):
        split(clips[:1], reports[:1], minutes=1)


# --- adapters -------------------------------------------------------------------------------------


def test_adapters_start_as_nothing_train_alone_and_merge() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4))
    x, names = torch.randn(3, 6), set(model.state_dict())
    before = model(x)
    trained = adapt(model, 2)
    assert sum(p.numel() for p in trained) == 2 * (6 + 5) + 2 * (5 + 4)
    assert torch.equal(model(x), before)
    for parameter in trained:
        nn.init.normal_(parameter, std=0.1)
    moved = model(x)
    assert not torch.allclose(moved, before)
    merge(model)
    assert set(model.state_dict()) == names
    assert torch.allclose(model(x), moved, atol=1e-6)
    with pytest.raises(ValueError, match="1 or more"):
        adapt(model, 0)


# --- tuning ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 2])
def test_tuning_moves_what_it_should_and_leaves_a_plain_model(
    system: Bundle, store: Path, tmp_path: Path, rank: int
) -> None:
    before = weights(system)
    rising = iter(range(100))
    rows = tune(
        system, store, tmp_path / "run", FEW.model_copy(update={"rank": rank}),
        check=lambda: {"score": float(next(rising))},
    )  # fmt: skip
    after = weights(system)
    assert after.keys() == before.keys()
    assert set(rows) == {"generator", "gpt"}
    assert not torch.equal(after["gpt.head.weight"], before["gpt.head.weight"])
    changed = {k.split(".")[1] for k in after if not torch.equal(after[k], before[k])}
    assert {"prior", "decoder", "blocks"} <= changed
    assert torch.equal(after["generator.codebook"], before["generator.codebook"])
    system.save(tmp_path / "model")
    assert Bundle.load(tmp_path / "model").name == "tiny"


def test_parts_that_are_to_stay_stay_as_they_are(
    system: Bundle, store: Path, tmp_path: Path
) -> None:
    before, rising = weights(system), iter(range(100))
    config = FEW.model_copy(update={"still": ("prior", "speaker", "decoder.direct")})
    rows = tune(
        system, store, tmp_path / "run", config, only="generator",
        check=lambda: {"score": float(next(rising))},
    )  # fmt: skip
    after = weights(system)
    changed = {k.split(".")[1] for k in after if not torch.equal(after[k], before[k])}
    assert "decoder" in changed
    assert not {"prior", "speaker"} & changed
    assert all(torch.equal(after[k], before[k]) for k in after if ".decoder.direct." in k)
    assert rows["generator"]["step"] == FEW.generator_steps  # whose weights were kept


@pytest.mark.parametrize("rank", [0, 2])
def test_the_generator_goes_its_share_of_the_way(
    system: Bundle, store: Path, tmp_path: Path, rank: int
) -> None:
    before, ends = weights(system), []
    for share in (1.0, 0.5):
        models, rising = copy.deepcopy(system), iter(range(100))
        config = FEW.model_copy(update={"share": share, "rank": rank})
        tune(
            models, store, tmp_path / str(share), config, check=lambda r=rising: {"score": next(r)}
        )
        ends.append(weights(models))
    whole, half = ends
    moved = [k for k in whole if not torch.equal(whole[k], before[k])]
    assert any(name.startswith("generator.") for name in moved)
    for name in moved:
        middle = (before[name] + whole[name]) / 2
        torch.testing.assert_close(
            half[name], middle if name.startswith("generator.") else whole[name]
        )


@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_judged_is_what_is_kept(
    system: Bundle, store: Path, tmp_path: Path, rank: int
) -> None:
    heard: list[Tensor] = []

    def check() -> dict[str, float]:
        heard.append(system.generator.decoder.direct.weight.detach().clone())
        return {"score": float(len(heard))}

    config = FEW.model_copy(update={"share": 0.5, "rank": rank})
    tune(system, store, tmp_path / "run", config, only="generator", check=check)
    kept = system.generator.decoder.direct.weight
    assert torch.equal(kept, heard[-1])
    assert not torch.equal(kept, heard[0])


def test_no_share_beyond_the_way_is_taken() -> None:
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            Tuning(share=share)


def test_what_does_not_help_is_not_kept_and_patience_ends_it(
    system: Bundle, store: Path, tmp_path: Path
) -> None:
    before, asked = weights(system), []

    def worse() -> dict[str, float]:
        asked.append(1)
        return {"score": -float(len(asked))}

    config = FEW.model_copy(update={"gpt_steps": 40, "patience": 2})
    tune(system, store, tmp_path / "run", config, only="gpt", check=worse)
    assert len(asked) == 3  # at 0, 2 and 4 steps
    assert same(weights(system), before)


def test_a_killed_run_ends_with_the_same_weights(
    system: Bundle, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = copy.deepcopy(system)
    tune(whole, store, tmp_path / "whole", FEW, only="gpt")
    real, count = tuning.gpt_losses, []

    def dying(*given: Any) -> Any:
        count.append(1)
        if len(count) == 4:  # a check of the held-out clips counts, too
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(tuning, "gpt_losses", dying)
    broken = copy.deepcopy(system)
    with pytest.raises(KeyboardInterrupt):
        tune(broken, store, tmp_path / "run", FEW, only="gpt")
    monkeypatch.setattr(tuning, "gpt_losses", real)
    again = copy.deepcopy(system)
    tune(again, store, tmp_path / "run", FEW, only="gpt")
    assert same(weights(again), weights(whole))


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    system: Bundle, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = torch.save, []

    def full(value: Any, path: Any, *more: Any) -> None:
        count.append(1)
        if len(count) == 4:
            Path(path).write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file data")
        real(value, path, *more)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="free some space"):
        tune(copy.deepcopy(system), store, tmp_path / "run", FEW, only="gpt")
    monkeypatch.setattr(torch, "save", real)
    assert not list((tmp_path / "run" / "gpt").glob("*.part"))
    state = torch.load(tmp_path / "run" / "gpt" / "state.pt", weights_only=True)
    assert state["step"] >= 1
    tune(system, store, tmp_path / "run", FEW, only="gpt")


def test_the_training_weights_are_optional_and_checked(system: Bundle, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from voxray.models.posterior_mel import MelPosterior
    from voxray.tokens.content import Readout

    assert training_file.training_parts(tmp_path, system) == (None, None)
    posterior, readout = (
        MelPosterior(system.config.generator.posterior),
        Readout(system.config.content),
    )
    state = {f"posterior.{k}": v.half() for k, v in posterior.state_dict().items()}
    save_file(state, tmp_path / training_file.TRAINING_FILE)
    with pytest.raises(ValueError, match="holds no readout"):
        training_file.training_parts(tmp_path, system)
    state |= {f"readout.{k}": v.half() for k, v in readout.state_dict().items()}
    save_file(state, tmp_path / training_file.TRAINING_FILE)
    found = training_file.training_parts(tmp_path, system)
    assert isinstance(found[0], MelPosterior)
    assert isinstance(found[1], Readout)


def test_the_generator_learns_likeness_from_a_speaker_encoder(
    system: Bundle, store: Path, tmp_path: Path
) -> None:
    weights_file = tmp_path / "pretrained.pt"
    torch.save({"model_state": SpeakerTeacher().state_dict()}, weights_file)
    heard = FEW.model_copy(update={"teacher": str(weights_file), "segment_tokens": 40})
    parts = tuning_generator.generator_part(system, store, heard, None).losses(0)
    parts["likeness"].backward()
    assert 0.0 < float(parts["likeness"]) < 2.0
    assert any(p.grad is not None and p.grad.any() for p in system.generator.prior.parameters())
    for other in ({"teacher": ""}, {"likeness": 0.0}, {"segment_tokens": 39}):
        part = tuning_generator.generator_part(system, store, heard.model_copy(update=other), None)
        assert "likeness" not in part.losses(0) and "likeness" not in part.weights
    (tmp_path / "pretrained.pt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="speaker encoder"):
        tuning_generator.generator_part(system, store, heard, None)


def test_clips_shorter_than_a_segment_are_learnt_from_whole(system: Bundle, tmp_path: Path) -> None:
    short = [replace(p, wave=p.wave[:20_000]) for p in pieces()]  # 1.25 s
    store = write_store(tmp_path / "short", system, short[:3], short[3:])
    config = FEW.model_copy(update={"segment_tokens": 40})
    parts = tuning_generator.generator_part(system, store, config, None).losses(0)
    assert torch.isfinite(parts["spectrum"])


def test_the_generator_learns_with_a_posterior_too(system: Bundle, store: Path) -> None:
    from voxray.models.posterior_mel import MelPosterior

    posterior = MelPosterior(system.config.generator.posterior)
    system.generator.posterior = posterior
    part = tuning_generator.generator_part(system, store, FEW, None)
    parts = part.losses(0)
    assert set(part.weights) == {"spectrum", "pitch", "guide", "copy", "words"} == set(parts)
    assert all(torch.isfinite(value) for value in parts.values())


def test_discriminators_learn_along_and_are_thrown_away(
    system: Bundle, store: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    judge = SpectralDiscriminators(SpectralDiscriminatorConfig(channels=3))
    state = {f"{training_file.JUDGE}{k}": v.half() for k, v in judge.state_dict().items()}
    assert training_file.training_judge(tmp_path, system) is None
    save_file(state, tmp_path / training_file.TRAINING_FILE)
    found = training_file.training_judge(tmp_path, system)
    assert found is not None and found.config.channels == 3

    heard = FEW.model_copy(update={"adversary": 0.07})
    part = tuning_generator.generator_part(system, store, heard, None, found)
    parts = part.losses(0)
    assert part.beside is found
    assert {"discriminator", "adversary", "features"} <= set(part.weights) == set(parts)
    parts["adversary"].backward()
    assert any(p.grad is not None and p.grad.any() for p in system.generator.decoder.parameters())
    assert all(p.grad is None for p in found.parameters())  # the generator's loss is not theirs

    before, names = copy.deepcopy(found.state_dict()), set(system.generator.state_dict())
    rising = iter(range(100))
    tune(
        system, store, tmp_path / "run", heard, only="generator", judge=found,
        check=lambda: {"score": float(next(rising))},
    )  # fmt: skip
    assert not same(found.state_dict(), before)
    assert set(system.generator.state_dict()) == names
    assert tuning_generator.generator_part(system, store, FEW, None, found).beside is None


def test_rows_of_the_recording_itself_teach_the_decoder_alone(system: Bundle, store: Path) -> None:
    from voxray.models.posterior_mel import MelPosterior

    system.generator.posterior = MelPosterior(system.config.generator.posterior)
    config = FEW.model_copy(update={"own": 1.0})
    tuning_generator.generator_part(system, store, config, None).losses(0)["spectrum"].backward()
    grads = {
        n.split(".")[0]
        for n, p in system.generator.named_parameters()
        if p.grad is not None and p.grad.any()
    }
    assert "decoder" in grads and "prior" not in grads


def test_times_of_phonemes_fill_the_clip(system: Bundle, store: Path) -> None:
    part = gpt_part(system, store, FEW, None)
    assert torch.isfinite(part.losses(0)["token"])
    from voxray.train.label import read_labels

    for label in read_labels(store).values():
        assert label.spans[0, 0] == 0
        assert (label.spans[1:, 0] == label.spans[:-1, 1]).all()
        assert (label.spans[:, 1] >= label.spans[:, 0]).all()
