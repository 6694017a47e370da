"""A pickle read without running anything: bytes of data.pkl in, plain structures out.

Only the opcodes that torch's savers write are known. Names of classes and functions are never
looked up: nine kinds of marks stand for what a checkpoint needs, any other name is refused. What
comes out are dicts, lists, tuples, texts and numbers, `TensorPlan` where a tensor would stand (no
number of it has been read yet) and `Attributes` where a settings object would. Stack, opcodes and
sizes are bounded, so that a small hostile file cannot ask for much memory or time.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NoReturn

import torch

from .errors import AGAIN, UNTRUSTED, ForeignFileError, shown

STACK_LIMIT = 10_000  # picklers write 1000 pairs at a time
OPCODE_LIMIT = 500_000  # a tensor takes 40; a large training state 150,000
LENGTH_LIMIT = 1 << 40
DIMENSION_LIMIT = 8
STORAGE_KEY = re.compile(r"[0-9A-Za-z_]{1,64}")


class Mark(Enum):
    """What a name in the pickle stands for; nothing is ever called."""

    ORDERED_DICT = "collections.OrderedDict"
    TENSOR = "torch._utils._rebuild_tensor_v2"
    PARAMETER = "torch._utils._rebuild_parameter"
    SETTINGS = "utils.HParams"


STORAGES = {
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
NAMES: dict[str, Mark | torch.dtype] = {**{mark.value: mark for mark in Mark}, **STORAGES}


class OrderedMapping(dict[Any, Any]):
    """Where the pickle makes an OrderedDict: a dict that may be given attributes (ignored)."""


@dataclass
class Attributes:
    """Where the pickle makes a settings object: its attributes."""

    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """Numbers in the record `data/{key}`."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class TensorPlan:
    """A tensor within its storage: offset and strides in elements; checked to lie inside."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def unpickle(data: bytes | bytearray) -> Any:
    """The structure that the pickle describes; ForeignFileError where it is not a plain one."""
    return Machine(bytes(data)).run()


def malformed(reason: str) -> NoReturn:
    """Refuse a pickle that no saver has written."""
    raise ForeignFileError(f"damaged: its data.pkl {reason}; {AGAIN}")


class Machine:
    """The pickle's stack, marks and memo."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(OPCODE_LIMIT):
            code = self.take(1)
            if code == b".":
                return self.result()
            action = ACTIONS.get(code)
            if action is None:
                raise ForeignFileError(
                    f"its data.pkl uses opcode 0x{code.hex()}, which no checkpoint needs; "
                    + UNTRUSTED
                )
            action(self)
        return malformed("has absurdly many instructions")

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks or self.position != len(self.data):
            malformed("does not end where it should")
        return self.stack[0]

    def take(self, count: int) -> bytes:
        """The next bytes; no more than there are."""
        end = self.position + count
        if end > len(self.data):
            malformed("ends too early")
        piece, self.position = self.data[self.position : end], end
        return piece

    def number(self, form: str) -> Any:
        """The next number, in the notation of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, count: int) -> str:
        """The next text, UTF-8."""
        try:
            return self.take(count).decode("utf-8")
        except UnicodeDecodeError:
            return malformed("holds text that is not UTF-8")

    def line(self) -> str:
        """Text up to the end of the line, which is left out."""
        end = self.data.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            malformed("holds a name without end")
        text = self.text(end - self.position)
        self.position = end + 1
        return text

    def push(self, value: Any) -> None:
        if len(self.stack) >= STACK_LIMIT:
            raise ForeignFileError(f"its data.pkl is nested absurdly deep; {UNTRUSTED}")
        self.stack.append(value)

    def pop(self) -> Any:
        self.need(1)
        return self.stack.pop()

    def top(self) -> Any:
        self.need(1)
        return self.stack[-1]

    def need(self, count: int) -> None:
        floor = self.marks[-1] if self.marks else 0
        if len(self.stack) - floor < count:
            malformed("takes more from its stack than there is")

    def take_marked(self) -> list[Any]:
        """Everything above the last mark."""
        if not self.marks:
            malformed("has no mark where one is needed")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def tuple_of(self, count: int) -> None:
        self.need(count)
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(items)

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            malformed("appends to what is no list")
        target.extend(items)

    def fill(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            malformed("sets entries of what is no dict")
        for key, value in zip(items[::2], items[1::2]):
            if type(key) not in (str, int):
                malformed("has a key that is neither text nor a whole number")
            if key in target:
                malformed(f"has the key {shown(str(key))!r} twice")
            target[key] = value

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            malformed("recalls what it has not remembered")
        self.push(self.memo[index])

    def name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}" if type(module) is type(name) is str else "no name"
        if full not in NAMES:
            raise ForeignFileError(
                f"it asks for {shown(full)}, which no checkpoint needs and which may run a "
                f"program (nothing was run); {UNTRUSTED}"
            )
        self.push(NAMES[full])

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple:
            malformed("makes a call without arguments")
        if function is Mark.ORDERED_DICT and not arguments:
            self.push(OrderedMapping())
        elif function is Mark.SETTINGS and not arguments:
            self.push(Attributes())
        elif function is Mark.TENSOR:
            self.push(tensor_plan(arguments))
        elif function is Mark.PARAMETER and arguments and type(arguments[0]) is TensorPlan:
            self.push(arguments[0])
        else:
            malformed("makes a call that no saver writes")

    def make(self) -> None:
        arguments, kind = self.pop(), self.pop()
        if kind is not Mark.SETTINGS or arguments != ():
            malformed("makes an object that no saver writes")
        self.push(Attributes())

    def build(self) -> None:
        """Attributes of a settings object; those of an OrderedDict (`_metadata`) are ignored."""
        state, target = self.pop(), self.top()
        if type(target) is OrderedMapping:
            return
        if type(target) is not Attributes or not isinstance(state, dict):
            malformed("sets attributes of what has none")
        for name, value in state.items():
            if type(name) is not str or name.startswith("__"):
                raise ForeignFileError(
                    f"its settings hold the attribute {shown(str(name))!r}, which no saver "
                    f"writes; {UNTRUSTED}"
                )
            target.values[name] = value

    def persistent(self) -> None:
        identity = self.pop()
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            malformed("refers to something that is no storage")
        _, dtype, key, _, count = identity
        if type(key) is not str or not STORAGE_KEY.fullmatch(key):
            malformed("refers to a storage without a proper name")
        if type(dtype) is not torch.dtype or not _is_length(count):
            malformed(f"describes the storage {key} wrongly")
        self.push(Storage(key, dtype, count))


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LENGTH_LIMIT


def tensor_plan(arguments: tuple[Any, ...]) -> TensorPlan:
    """The tensor of (storage, offset, shape, strides, ...); refuses one outside of its storage.

    No element may be told twice as often as it is stored: an expanded tensor (stride 0) would let
    a few bytes stand for any number of elements.
    """
    if len(arguments) not in (6, 7) or type(arguments[0]) is not Storage:
        malformed("describes a tensor wrongly")
    storage, offset, shape, strides = arguments[:4]
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        malformed("describes a tensor's shape wrongly")
    if len(shape) > DIMENSION_LIMIT or not all(map(_is_length, (offset, *shape, *strides))):
        malformed("describes a tensor of impossible shape")
    plan = TensorPlan(storage, offset, shape, strides)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    empty = plan.count == 0 and math.prod(max(1, size) for size in shape) <= LENGTH_LIMIT
    if not empty and (plan.count == 0 or last >= storage.count or plan.count > storage.count):
        malformed(f"describes a tensor larger than its storage {storage.key}")
    return plan


ACTIONS: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": lambda m: m.take(1),  # protocol
    b"\x95": lambda m: m.take(8),  # frame: a hint about lengths
    b"(": lambda m: m.marks.append(len(m.stack)),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.take_marked())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.take_marked()),
    b"s": lambda m: m.fill([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.fill(m.take_marked()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"X": lambda m: m.push(m.text(m.number("<I"))),
    b"\x8c": lambda m: m.push(m.text(m.number("<B"))),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": lambda m: m.name(*[m.pop(), m.pop()][::-1]),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.make(),
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.persistent(),
}
