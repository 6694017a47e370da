"""Foreign tensor names -> ours, strictly: every tensor of ours is given, every foreign one is used.

A rule list is tried from top to bottom on each name; every rule that matches rewrites the name, so
that `enc_p.encoder2.attn_layers.0.conv_q.weight` becomes `prior.joint_encoder.layers.0.attn...` in
several small steps. A rule that ends in None drops the tensor. `Reshape`s change the order of axes
where two layouts differ; axes of length 1 may come and go by themselves (1x1 convolutions are linear
maps here).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Size, Tensor, nn

Replacement = str | Callable[[re.Match[str]], str] | None
Rule = tuple[str, Replacement]
Reshape = tuple[str, Callable[[Tensor], Tensor]]

WEIGHT_NORM: list[Rule] = [
    (r"weight_g$", "parametrizations.weight.original0"),
    (r"weight_v$", "parametrizations.weight.original1"),
]


def rename(name: str, rules: Iterable[Rule]) -> str | None:
    """Our name of a foreign tensor; None: it is not needed."""
    for pattern, replacement in rules:
        if replacement is None:
            if re.search(pattern, name):
                return None
        else:
            name = re.sub(pattern, replacement, name)
    return name


def renamed(
    foreign: Mapping[str, Tensor], rules: Sequence[Rule], reshapes: Sequence[Reshape] = ()
) -> dict[str, Tensor]:
    """All foreign tensors under our names; ValueError where two would get the same one."""
    ours: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in foreign.items():
        new = rename(name, rules)
        if new is None:
            continue
        if new in ours:
            raise ValueError(f"{name} and {origin[new]} both want to be {new}")
        for pattern, change in reshapes:
            if re.search(pattern, new):
                tensor = change(tensor)
        ours[new], origin[new] = tensor, name
    return ours


def folded(foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with weight normalisation baked in: w = g v / |v|, norm over all axes but 0."""
    made = {n: t for n, t in foreign.items() if not n.endswith(("weight_g", "weight_v"))}
    for name, direction in foreign.items():
        if name.endswith("weight_v"):
            size, direction = foreign[name[:-1] + "g"].float(), direction.float()
            norm = direction.flatten(1).norm(dim=1).reshape(size.shape)
            made[name.removesuffix("_v")] = size * direction / norm
    return made


def fitted(state: Mapping[str, Tensor], shapes: Mapping[str, Size]) -> dict[str, Tensor]:
    """The tensors in our shapes; ValueError names what is missing, unknown or misshapen."""
    problems = [f"missing {name}" for name in sorted(shapes.keys() - state.keys())]
    problems += [f"unknown {name}" for name in sorted(state.keys() - shapes.keys())]
    result: dict[str, Tensor] = {}
    for name in sorted(shapes.keys() & state.keys()):
        tensor, shape = state[name], shapes[name]
        if _without_ones(tensor.shape) != _without_ones(shape):
            problems.append(f"{name} is {_written(tensor.shape)}, not {_written(shape)}")
        else:
            result[name] = tensor.reshape(shape)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"the weights do not fit: {'; '.join(problems[:3])}{more}")
    return result


def adopt(
    module: nn.Module,
    foreign: Mapping[str, Tensor],
    rules: Sequence[Rule],
    reshapes: Sequence[Reshape] = (),
) -> nn.Module:
    """Fill a module with foreign weights, strictly."""
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    module.load_state_dict(fitted(renamed(foreign, rules, reshapes), shapes))
    return module


def _without_ones(shape: Size) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _written(shape: Size) -> str:
    return "x".join(map(str, shape)) or "a number"
