"""Sites: free when idle, exact names, undone on exit, composable, refused on a compiled model."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from voxray.sites import Moment, Site, attach, record, sites, timed


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.resid = Site()

    def forward(self, x: Tensor) -> Tensor:
        return self.resid(self.linear(x))


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Part() for _ in range(2))
        self.stages = [Site(), Site()]
        self.out = Site()
        self.moment = Moment()
        self.out.moment = self.moment

    def forward(self, x: Tensor) -> Tensor:
        for part, stage in zip(self.parts, self.stages, strict=True):
            x = stage(part(x))
        return self.out(x)


@pytest.fixture()
def toy() -> Toy:
    torch.manual_seed(0)
    return Toy().eval()


X = torch.arange(6.0).view(2, 3)


def test_names_are_dotted_paths(toy: Toy) -> None:
    assert set(sites(toy)) == {
        "parts.0.resid",
        "parts.1.resid",
        "stages.0",
        "stages.1",
        "out",
    }
    assert "gpt.parts.0.resid" in sites({"gpt": toy})


def test_sites_leave_no_trace_in_the_state_dict(toy: Toy) -> None:
    assert all("linear" in name for name in toy.state_dict())


def test_every_site_takes_an_edit_and_gives_it_back(toy: Toy) -> None:
    plain = toy(X)
    for name in sites(toy):
        with attach(toy, {name: lambda x: x + 1}):
            assert not torch.equal(toy(X), plain), name
        assert torch.equal(toy(X), plain)
    assert not any(site.live for site in sites(toy).values())


def test_edits_compose_in_order(toy: Toy) -> None:
    plain = toy(X)
    with attach(toy, {"out": lambda x: x + 1}), attach(toy, {"out": lambda x: x * 2}):
        assert torch.equal(toy(X), (plain + 1) * 2)


def test_record_sees_what_the_rest_of_the_model_sees(toy: Toy) -> None:
    plain = toy(X)
    with record(toy, "out") as seen, attach(toy, {"out": lambda x: x + 1}):
        toy(X)
    assert torch.equal(seen["out"][0], plain + 1)


def test_recording_changes_nothing_and_keeps_the_graph(toy: Toy) -> None:
    plain = toy(X)
    with record(toy, "*") as seen:
        result = toy(X)
        toy(X)
    assert torch.equal(result, plain)
    assert all(len(values) == 2 for values in seen.values())
    seen["parts.0.resid"][0].sum().backward()
    assert toy.parts[0].linear.weight.grad is not None


def test_unknown_names_say_what_is_near(toy: Toy) -> None:
    edits = {"out": lambda x: x, "part.0.resid": lambda x: x}
    with pytest.raises(KeyError, match=r"parts\.0\.resid"), attach(toy, edits):
        pass
    assert not sites(toy)["out"].live
    with pytest.raises(KeyError, match="no site"), record(toy, ["out", "nothing.*"]):
        pass


def test_undone_after_an_exception(toy: Toy) -> None:
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("in the edit")

    fails = pytest.raises(RuntimeError, match="in the edit")
    with fails, record(toy), attach(toy, {"out": broken}):
        toy(X)
    assert not any(site.live for site in sites(toy).values())


def test_copies_are_idle_and_independent(toy: Toy) -> None:
    with attach(toy, {"out": lambda x: x * 0}):
        twin = copy.deepcopy(toy)
        assert toy(X).abs().max() == 0
        assert twin(X).abs().max() > 0
    assert sites(twin)["out"].moment is twin.moment is not toy.moment
    read = pickle.loads(pickle.dumps(toy))
    assert sites(read)["out"].moment is read.moment


def test_timed_edits_see_the_moment(toy: Toy) -> None:
    toy.moment.step = 4
    seen: list[int] = []

    @timed
    def edit(x: Tensor, moment: Moment) -> Tensor:
        seen.append(moment.step)
        return x

    with attach(toy, {"out": edit}):
        toy(X)
    assert seen == [4]


def test_compiled_and_exported_models_are_refused(toy: Toy) -> None:
    class GraphModule(nn.Module):  # as exporters call their result
        pass

    with pytest.raises(ValueError, match="exported"), record(GraphModule()):
        pass
    toy.parts[0]._compiled_call_impl = toy.forward  # what Module.compile() leaves, in no time
    with pytest.raises(ValueError, match="compiled"), attach(toy, {"out": lambda x: x}):
        pass
