"""Work on many items over the workers of a Ray cluster: one machine or many, through Ray Data.

`over_ray(function, items)` yields `function(item)` in the items' order. A worker that is killed loses nothing: Ray does
its items again elsewhere. In: an importable function that gives a row (a dict of numbers, texts, bytes or arrays) and
picklable items; files must lie where every machine finds them. Needs the extra `ray`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, TypeVar

Item = TypeVar("Item")
Row = dict[str, Any]
LOCAL = "local"  # Ray's own word for this machine, whatever clusters run on it
BLOCK = 16  # items that one worker takes at a time, and does again where it was killed
AGAIN = 3  # how often a block that killed its worker is tried anew


def over_ray(
    function: Callable[[Item], Row], items: Sequence[Item], address: str = LOCAL, block: int = BLOCK
) -> Iterator[Row]:
    """Rows in order; errors of the function itself come out as Ray tells them."""
    if not items:
        return
    ray, data = _library(), import_module("ray.data")
    if not ray.is_initialized():
        ray.init(address, include_dashboard=False, log_to_driver=False)
    context = data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    blocks = max(1, -(-len(items) // block))

    def work(row: Row) -> Row:
        return function(items[row["id"]])

    rows = data.range(len(items), override_num_blocks=blocks).map(work, max_retries=AGAIN)
    yield from rows.iter_rows()


def _library() -> Any:
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise ImportError(
            "work on a Ray cluster needs Ray Data: pip install 'voxray[ray]'"
        ) from error
