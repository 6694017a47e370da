"""Flow matching: the solver, the transformer's sites, the bridge, LoRA; the recorded cases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import recorded
from voxray.config import (
    BridgeConfig,
    DiTConfig,
    FlowMatchingConfig,
    PriorConfig,
    SpeakerConfig,
)
from voxray.convert.lora import merge_lora
from voxray.convert.rename import adopt, fitted, renamed
from voxray.convert.rules_matching import FLOW_MATCHING
from voxray.models.attention import Attention, Rotary
from voxray.models.cfm import Bridge, FlowMatching
from voxray.models.prior import Prior
from voxray.models.speaker import SpeakerEncoder
from voxray.sites import Moment, attach, record, sites, timed

TINY = DiTConfig(
    n_mels=5,
    condition_width=6,
    width=16,
    n_layer=2,
    n_head=4,
    rotary_width=4,
    condition_layers=1,
    position_kernel=3,
    position_groups=2,
    time_width=8,
)
FRAMES, GIVEN = 9, 3
FRONT = PriorConfig(
    text_symbols=732,
    input_channels=768,
    filter=768,
    content_layers=3,
    text_layers=6,
    joint_layers=3,
    cross_width=512,
    speaker_width=512,
    latent_channels=192,
)
BRIDGES = {"v3": BridgeConfig(factor=1.875, mask_factor=3.875), "v4": BridgeConfig()}


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # published ones start at zero in places
    return model.eval()


@pytest.fixture(scope="module")
def tiny() -> FlowMatching:
    model = randomised(FlowMatching(FlowMatchingConfig(transformer=TINY, steps=3)))
    assert isinstance(model, FlowMatching)
    return model


@pytest.fixture()
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Condition, prompt and noise of two items."""
    condition, prompt = some(2, 6, FRAMES), some(2, 5, GIVEN, seed=2)
    return condition, prompt, some(2, 5, FRAMES, seed=3)


def by_hand(model: FlowMatching, inputs: tuple[Tensor, ...], steps: int, rate: float) -> Tensor:
    """The solver in its plainest form, [B, T, M] throughout."""
    condition, prompt, noise = (part.transpose(1, 2) for part in inputs)
    padded = torch.zeros_like(noise)
    padded[:, :GIVEN] = prompt
    x = noise.clone()
    x[:, :GIVEN] = 0
    for i in range(steps):
        time, size = torch.full((2,), i / steps), torch.full((2,), 1 / steps)
        velocity = model.dit(x, padded, model.dit.read(condition), time, size)
        nothing = model.dit.read(torch.zeros_like(condition))
        free = model.dit(x, torch.zeros_like(padded), nothing, time, size)
        x = x + (velocity + rate * (velocity - free)) / steps
        x[:, :GIVEN] = 0
    return x.transpose(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("rate", [0.0, 0.7])
def test_the_solver_is_eulers(
    tiny: FlowMatching, inputs: tuple[Tensor, Tensor, Tensor], rate: float
) -> None:
    mel = tiny(*inputs, guidance=rate)
    assert torch.allclose(mel, by_hand(tiny, inputs, 3, rate), atol=1e-5)
    assert mel.shape == (2, 5, FRAMES)
    assert mel[..., :GIVEN].abs().max() == 0 and mel[..., GIVEN:].abs().min() > 0


@torch.no_grad()
def test_guidance_and_steps_matter(
    tiny: FlowMatching, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    plain = tiny(*inputs)
    assert torch.equal(tiny(*inputs, steps=3, guidance=0.0), plain)
    assert not torch.allclose(tiny(*inputs, guidance=0.7), plain, atol=1e-2)
    assert not torch.allclose(tiny(*inputs, steps=4), plain, atol=1e-3)


def test_what_does_not_fit_is_refused(
    tiny: FlowMatching, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    condition, prompt, noise = inputs
    with pytest.raises(ValueError, match="at least 1 step"):
        tiny(condition, prompt, noise, steps=0)
    with pytest.raises(ValueError, match="do not fit"):
        tiny(condition[..., 1:], prompt, noise)


@torch.no_grad()
def test_every_site_can_be_watched_and_edited(
    tiny: FlowMatching, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    plain = tiny(*inputs)
    names = {"velocity"}
    for i in range(2):
        names |= {f"dit.blocks.{i}.attn.{part}" for part in "q k v bias pattern z".split()}
        names |= {f"dit.blocks.{i}.mlp", f"dit.blocks.{i}.resid"}
    assert sites(tiny).keys() == names
    with record(tiny) as seen:
        assert torch.allclose(tiny(*inputs), plain, atol=1e-4)
    assert all(len(values) == 3 for values in seen.values())  # once per step
    assert seen["velocity"][0].shape == (2, FRAMES, 5)
    assert seen["dit.blocks.1.attn.pattern"][0].shape == (2, 4, FRAMES, FRAMES)
    for name in names:
        with attach(tiny, {name: sloped}):
            assert not torch.allclose(tiny(*inputs), plain, atol=1e-4), name
    assert torch.equal(tiny(*inputs), plain)


def sloped(x: Tensor) -> Tensor:
    """Halved, and different everywhere: a change that no softmax forgives."""
    return 0.5 * x + torch.linspace(0, 1, x.numel()).reshape(x.shape)


@torch.no_grad()
def test_an_edit_can_tell_the_step(
    tiny: FlowMatching, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    steps: list[int] = []

    @timed
    def note(x: Tensor, moment: Moment) -> Tensor:
        steps.append(moment.step)
        assert len(moment.positions) == FRAMES
        return x

    with attach(tiny, {"velocity": note, "dit.blocks.0.resid": note}):
        tiny(*inputs)
    assert steps == [0, 0, 1, 1, 2, 2]


@torch.no_grad()
def test_guidance_shows_both_halves_at_the_sites(
    tiny: FlowMatching, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    with record(tiny, ["velocity", "dit.blocks.0.resid"]) as seen:
        tiny(*inputs, guidance=0.7)
    assert seen["dit.blocks.0.resid"][0].shape[0] == 4 and seen["velocity"][0].shape[0] == 2


@torch.no_grad()
def test_rotary_positions_touch_head_0_only() -> None:
    attention = Attention(16, 4).eval()
    x = some(1, 6, 16)
    with record(attention, ["q", "k", "v"]) as plain:
        attention(x)
    with record(attention, ["q", "k", "v"]) as turned:
        attention(x, rotary=Rotary(6, 4))
    for name in ("q", "k"):
        before, after = plain[name][0], turned[name][0]  # [1, H, T, D/H]
        assert torch.equal(before[:, 1:], after[:, 1:])
        assert torch.equal(before[:, 0, 0], after[:, 0, 0])  # position 0 is not turned
        assert not torch.allclose(before[:, 0, 1:], after[:, 0, 1:], atol=1e-3)
        assert torch.allclose(before.norm(dim=-1), after.norm(dim=-1), atol=1e-5)
    assert torch.equal(plain["v"][0], turned["v"][0])
    with pytest.raises(ValueError, match="separate"):
        Attention(16, 4, fused=True)(x, rotary=Rotary(6, 4))


@torch.no_grad()
def test_bridge_repeats_frames_and_zeroes_what_the_mask_leaves_out() -> None:
    config = BridgeConfig(input_channels=4, width=6, layers=2, speaker_width=3)
    bridge = randomised(Bridge(config))
    speaker, tokens = some(1, 3, 1), torch.tensor([16])
    with record(bridge, "out") as seen:
        plain = bridge(some(1, 4, 32), tokens, speaker)
    assert plain.shape == (1, 6, 64) and torch.equal(seen["out"][0], plain)
    with attach(bridge, {"out": lambda x: 2 * x}):
        assert torch.equal(bridge(some(1, 4, 32), tokens, speaker), 2 * plain)
    short = bridge(some(1, 4, 22), tokens, speaker, speed=1.5)
    assert short.shape == (1, 6, 44)
    assert short[..., -1].abs().max() == 0 and short[..., -2].abs().max() > 0


def low_rank(rank: int = 2) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A base of two tensors, and a delta of one of them, with the other replaced."""
    base = {"cfm.estimator.a.to_q.weight": some(6, 4).half(), "bridge.0.bias": some(3)}
    delta = {
        "cfm.base_model.model.estimator.a.to_q.lora_A.default.weight": some(rank, 4, seed=2),
        "cfm.base_model.model.estimator.a.to_q.lora_B.default.weight": some(6, rank, seed=3),
        "bridge.0.bias": some(3, seed=4),
    }
    return base, delta


def test_lora_is_added_and_the_rest_replaced() -> None:
    base, delta = low_rank()
    kept = base["cfm.estimator.a.to_q.weight"].clone()
    merged = merge_lora(base, delta)
    inner, outer, bias = delta.values()
    expected = kept.float() + outer @ inner
    assert merged.keys() == base.keys()
    assert merged["cfm.estimator.a.to_q.weight"].dtype == torch.float16
    assert torch.equal(merged["cfm.estimator.a.to_q.weight"], expected.half())
    assert torch.equal(merged["bridge.0.bias"], bias)
    assert torch.equal(base["cfm.estimator.a.to_q.weight"], kept)
    doubled = merge_lora(base, delta, alpha=4.0)["cfm.estimator.a.to_q.weight"]
    assert torch.equal(doubled, (kept.float() + 2 * outer @ inner).half())


FACTOR_A, FACTOR_B, BIAS = low_rank()[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({BIAS: some(4)}, "the base's"),
        ({"bridge.1.bias": some(3)}, "does not have"),
        ({FACTOR_A: None}, "only one of the two"),
        ({FACTOR_B: some(6, 3)}, "do not fit each other"),
        ({FACTOR_A: some(2, 5)}, "of rank 2"),
        ({FACTOR_A: some(2)}, "do not fit each other"),
        ({FACTOR_A.replace(".a.", ".b."): some(2, 4)}, "does not have"),
    ],
)
def test_lora_that_does_not_fit_is_refused(changes: dict[str, Tensor | None], message: str) -> None:
    base, delta = low_rank()
    misfit = {k: v for k, v in {**delta, **changes}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        merge_lora(base, misfit)


def part(name: str, module: torch.nn.Module, state: dict[str, Tensor]) -> torch.nn.Module:
    """A part of a published model on its own, filled from a whole state."""
    ours = renamed(state, FLOW_MATCHING)
    ours = {k[len(name) + 1 :]: v for k, v in ours.items() if k.startswith(f"{name}.")}
    wanted = {k: v.shape for k, v in module.state_dict().items()}
    module.load_state_dict(fitted(ours, wanted))
    return module.eval()


def front(state: dict[str, Tensor], version: str) -> tuple[torch.nn.Module, ...]:
    speaker = SpeakerConfig(input_bins=704, speaker_width=512, mask_convolutions=False)
    return (
        part("speaker", SpeakerEncoder(speaker), state),
        part("prior", Prior(FRONT), state),
        part("bridge", Bridge(BRIDGES[version]), state),
    )


def features(
    prior: torch.nn.Module, bridge: torch.nn.Module, state: dict[str, Tensor], inputs: list[Tensor],
    speed: float = 1.0,
) -> Tensor:  # fmt: skip
    """codes [S], phones [P], speaker vector -> condition [1, W, T]."""
    codes, phones, vector = inputs
    content = state["quantizer.vq.layers.0._codebook.embed"][codes].t()[None]
    content = content.repeat_interleave(2, dim=2)  # [1, C, 2S]
    lengths, text_lengths = torch.tensor([content.shape[2]]), torch.tensor([len(phones)])
    out = prior(content, lengths, phones[None], text_lengths, vector, speed)
    return bridge(out.features, torch.tensor([len(codes)]), vector, speed)


FRONT_NAMES = ("enc_p.", "ref_enc.", "quantizer.", "bridge.", "wns1.")


@recorded.needed
@pytest.mark.slow
@pytest.mark.chosen
def test_every_tensor_of_a_published_file_has_its_place() -> None:
    with torch.device("meta"):
        parts = torch.nn.ModuleDict(
            {"bridge": Bridge(BridgeConfig()), "cfm": FlowMatching(FlowMatchingConfig())}
        )
    own = ("bridge.", "wns1.", "linear_mel.", "cfm.")
    blanks = {
        name: blank for name, blank in recorded.blanks("s2_v3").items() if name.startswith(own)
    }
    adopt(parts, blanks, FLOW_MATCHING)
    assert recorded.shapes("s2_v3") == recorded.shapes("s2_v4")


@recorded.needed
@pytest.mark.slow
@pytest.mark.chosen
@torch.no_grad()
@pytest.mark.parametrize("version", ["v3", "v4"])
def test_published_condition(version: str) -> None:
    case = recorded.case(f"s2_{version}_encp")
    state = recorded.weights(f"s2_{version}", FRONT_NAMES)
    speaker, prior, bridge = front(state, version)
    vector = speaker(case["refer_spec"][None])
    recorded.assert_close(vector, case["ge"])
    prompt = [case["prompt_codes"], case["prompt_phones"], vector]
    target = [case["codes"], case["phones"], vector]
    recorded.assert_close(features(prior, bridge, state, prompt), case["fea_prompt"])
    recorded.assert_close(features(prior, bridge, state, target), case["fea"])
    recorded.assert_close(features(prior, bridge, state, target, 1.25), case["fea_speed125"])
    if version == "v4":
        case = recorded.case("s2_v4_encp_speed150")
        vector = speaker(case["refer_spec"][None])
        target = [case["codes"], case["phones"], vector]
        fast = features(prior, bridge, state, target, 1.5)
        recorded.assert_close(fast, case["fea_speed150"])
        assert fast[..., -1].abs().max() == 0


@pytest.fixture(scope="module")
def published() -> FlowMatching:
    """v3 and v4 have the same names and shapes, so here also the same weights."""
    model = FlowMatching(FlowMatchingConfig())
    part("cfm", model, recorded.weights("s2_v4", ("cfm.",)))
    return model


def velocity(model: FlowMatching, condition: Tensor, prompt: Tensor, noise: Tensor) -> Tensor:
    """At time .25 with a step of .125: step 2 of 8; [T, M]."""
    given = prompt.shape[1]
    x = noise.t()[None].clone()
    x[:, :given] = 0
    padded = torch.zeros_like(x)
    padded[0, :given] = prompt.t()
    read = model.dit.read(condition[None])
    return model.dit(x, padded, read, torch.tensor([0.25]), torch.tensor([0.125]))[0]


@recorded.needed
@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("version", ["v3", "v4"])
def test_published_velocity(published: FlowMatching, version: str) -> None:
    case = recorded.case(f"s2_{version}_cfm")
    ours = velocity(published, case["mu"], case["prompt_mel"], case["noise"])
    recorded.assert_close(ours, case["velocity"])


@recorded.needed
@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("version", ["v3", "v4"])
def test_published_solver(published: FlowMatching, version: str) -> None:
    case = recorded.case(f"s2_{version}_cfm")
    given = case["mu"].t()[None], case["prompt_mel"][None]
    noise = case["noise"][None]
    silence = torch.zeros_like(noise)
    recorded.assert_close(published(*given, noise, 2, 0.7), case["mel_2_noise_cfg07"])
    recorded.assert_close(published(*given, silence, 4), case["mel_4_zero"])
    recorded.assert_close(published(*given, noise, 4), case["mel_4_noise"])
    recorded.assert_close(published(*given, silence, 8), case["mel_8_zero"])


@recorded.needed
@pytest.mark.slow
@torch.no_grad()
def test_published_lora() -> None:
    case = recorded.case("s2_v4_lora_merge")
    delta = recorded.weights("s2_v4_lora_r32", seed=1)
    state = merge_lora(recorded.weights("s2_v4", (*FRONT_NAMES, "linear_mel.", "cfm.")), delta)
    query = state["cfm.estimator.transformer_blocks.3.attn.to_q.weight"]
    recorded.assert_close(query[:8], case["to_q_block3_rows0to7"])
    speaker, prior, bridge = front(state, "v4")
    vector = speaker(case["refer_spec"][None])
    recorded.assert_close(vector, case["ge"])
    condition = features(prior, bridge, state, [case["codes"], case["phones"], vector])
    recorded.assert_close(condition, case["fea"])
    model = FlowMatching(FlowMatchingConfig())
    part("cfm", model, state)
    whole = torch.cat([case["fea_prompt"], condition[0]], dim=1).t()
    recorded.assert_close(
        velocity(model, whole, case["prompt_mel"], case["noise"]), case["velocity"]
    )
