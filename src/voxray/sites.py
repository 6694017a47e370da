"""Sites: the named places of a model where a tensor can be watched or changed.

A `Site` is called once in a forward pass: `x = self.resid(x)`. Idle, it is one `is None` test.
`record` yields what passed through (autograd graph kept); `attach` puts pure functions
`Tensor -> Tensor` in the way and takes them out again on exit, exceptions included.
Names are dotted module paths ("blocks.2.attn.pattern"). A model compiled or exported has its
sites burnt away, so it is refused. Attaching acts on the model object: two threads that share a
model share its edits.
"""

from __future__ import annotations

import copy
import difflib
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]
Models = nn.Module | Mapping[str, nn.Module]
EXPORTED = frozenset({"GraphModule", "ScriptModule"})


class Moment:
    """Where a step-by-step model stands: shared by all of its sites.

    step: -1 in a whole pass or a prefill, then 0, 1, ... for each token fed.
    positions: the sequence positions that this pass computes (text first, then audio).
    text: how many of the sequence positions are text.
    """

    __slots__ = ("positions", "step", "text")

    def __init__(self) -> None:
        self.step = -1
        self.positions = range(0)
        self.text = 0


def timed(edit: Callable[[Tensor, Moment], Tensor]) -> Callable[[Tensor, Moment], Tensor]:
    """Mark an edit that also wants to know the `Moment`: it is called as edit(tensor, moment)."""
    edit.timed = True  # type: ignore[attr-defined]
    return edit


class Site:
    """A place in a model; not an `nn.Module`, so it leaves no trace in a state dict."""

    __slots__ = ("edits", "hook", "moment", "taps")

    def __init__(self) -> None:
        self.hook: Edit | None = None  # None: idle
        self.edits: tuple[Callable[..., Tensor], ...] = ()
        self.taps: tuple[Callable[[Tensor], None], ...] = ()
        self.moment: Moment | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.hook is None:
            return x
        return self.hook(x)

    @property
    def live(self) -> bool:
        """Whether somebody watches or edits here."""
        return self.hook is not None

    def _run(self, x: Tensor) -> Tensor:
        for edit in self.edits:
            x = edit(x, self.moment) if getattr(edit, "timed", False) else edit(x)
        for tap in self.taps:  # after all edits: what the rest of the model sees
            tap(x)
        return x

    def _update(self) -> None:
        self.hook = self._run if self.edits or self.taps else None

    def add(self, edit: Callable[..., Tensor]) -> None:
        """Append an edit; `attach` is the safe way to do this."""
        self.edits = (*self.edits, edit)
        self._update()

    def remove(self, edit: Callable[..., Tensor]) -> None:
        """Take the newest occurrence of `edit` out again."""
        self.edits = _without(self.edits, edit)
        self._update()

    def watch(self, tap: Callable[[Tensor], None]) -> None:
        """Append a watcher; `record` is the safe way to do this."""
        self.taps = (*self.taps, tap)
        self._update()

    def unwatch(self, tap: Callable[[Tensor], None]) -> None:
        """Take a watcher out again."""
        self.taps = _without(self.taps, tap)
        self._update()

    def __deepcopy__(self, memo: dict[int, Any]) -> Site:
        twin = Site()  # edits belong to the original, not to its copies
        twin.moment = copy.deepcopy(self.moment, memo)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.moment,)


def _restored(moment: Moment | None) -> Site:
    site = Site()
    site.moment = moment
    return site


def _without(chain: tuple[Any, ...], item: object) -> tuple[Any, ...]:
    for i in reversed(range(len(chain))):
        if chain[i] is item:
            return chain[:i] + chain[i + 1 :]
    return chain


def _modules(model: Models) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(model, nn.Module):
        yield from model.named_modules()
        return
    for name, part in model.items():
        yield from part.named_modules(prefix=name)


def _own_sites(module: nn.Module) -> Iterator[tuple[str, Site]]:
    for name, value in vars(module).items():
        if isinstance(value, Site):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from ((f"{name}.{i}", v) for i, v in enumerate(value) if isinstance(v, Site))


def sites(model: Models) -> dict[str, Site]:
    """Every site of a model (or of a dict of models) by its dotted path."""
    return {
        f"{path}.{name}" if path else name: site
        for path, module in _modules(model)
        for name, site in _own_sites(module)
    }


def _refuse_frozen(model: Models) -> None:
    for path, module in _modules(model):
        compiled = hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None)
        # by name: importing the exporters only to ask would cost seconds
        exported = EXPORTED.intersection(kind.__name__ for kind in type(module).__mro__)
        if compiled or exported:
            kind = "compiled" if compiled else "exported"
            raise ValueError(
                f"{path or 'the model'} is {kind}: its sites no longer run. "
                "Attach to the plain model before compiling or exporting it."
            )


def _unknown(name: str, known: Sequence[str]) -> KeyError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; near: {', '.join(near)}" if near else f"; {len(known)} sites, see sites(model)"
    return KeyError(f"no site named {name!r}{hint}")


@contextmanager
def attach(model: Models, edits: Mapping[str, Callable[..., Tensor]]) -> Iterator[None]:
    """Run the model with edits at named sites; all of them are gone on exit.

    Nothing is attached if any name is unknown. Nested calls compose: first attached, first run.
    """
    _refuse_frozen(model)
    known = sites(model)
    for name in edits:
        if name not in known:
            raise _unknown(name, list(known))
    with attached(known, edits):
        yield


@contextmanager
def attached(
    known: Mapping[str, Site], edits: Mapping[str, Callable[..., Tensor]]
) -> Iterator[None]:
    """`attach` for who has the model's `sites` at hand, at every token: nothing is searched again."""
    try:
        for name, edit in edits.items():
            known[name].add(edit)
        yield
    finally:
        for name, edit in edits.items():
            known[name].remove(edit)


@contextmanager
def record(model: Models, pattern: str | Sequence[str] = "*") -> Iterator[dict[str, list[Tensor]]]:
    """Collect what passes the sites that match (fnmatch), one tensor per call, graph kept.

    A pattern that matches nothing is an error. Watching `attn.pattern` makes that layer use the
    written-out softmax: the same values to rounding.
    """
    _refuse_frozen(model)
    known = sites(model)
    taken: dict[str, list[Tensor]] = {}
    for wanted in [pattern] if isinstance(pattern, str) else pattern:
        hits = fnmatch.filter(known, wanted)
        if not hits:
            raise _unknown(wanted, list(known))
        taken.update({name: [] for name in hits})
    taps = {name: values.append for name, values in taken.items()}
    try:
        for name, tap in taps.items():
            known[name].watch(tap)
        yield taken
    finally:
        for name, tap in taps.items():
            known[name].unwatch(tap)
