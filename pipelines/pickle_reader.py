"""Pickles of foreign data: a reader of the opcodes that bytes, arrays and lists of them need, within limits of memory.

A few bytes of a pickle can ask Python's own unpickler for gigabytes: the memo is allocated up to the greatest index
that is named, and a buffer by the length that is announced. Here objects take memory in proportion to the bytes of the
file, and only functions that the caller gives can be called.
"""

import codecs
import io
import pickletools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

Function = Callable[..., Any]

# Memory that an opcode takes, in bytes, beside its argument.
_SEQUENCE = 64
_MEMO_ENTRY = 128
_CALL = 512
# Memory that each byte of a file may take; packs of arrays of a few bytes take 12.
_MOST_EACH = 16
_FREE = 4 << 20
# Opcodes: pairs take one for each picture of some kilobytes, and arrays about 25.
_OPCODES_FREE = 300_000
_BYTES_FOR_ONE = 16


class PickleError(Exception):
    """The content is no pickle of data, or needs too much memory."""


class ForeignGlobalError(Exception):
    """A pickle names a function that it is not given."""


@runtime_checkable
class Restorable(Protocol):
    """An object whose state a pickle may set."""

    def restore(self, state: Any) -> None:
        """Set the state."""


class Budget:
    """Memory that a pickle may take: in proportion to its length."""

    def __init__(self, num_bytes: int) -> None:
        self._left = _FREE + _MOST_EACH * num_bytes

    def spend(self, num_bytes: int) -> None:
        """Take memory.

        Raises:
            PickleError: none is left.
        """
        self._left -= num_bytes
        if self._left < 0:
            raise PickleError("it needs much more memory than it has bytes")


def read_pickle(content: bytes, functions: Mapping[tuple[str, str], Function], budget: Budget) -> Any:
    """The object of a pickle of any protocol; text of Python 2 is read as bytes.

    Args:
        functions: by module and name; each is called for opcode REDUCE.
        budget: is spent by what is read; the functions may spend it too.

    Raises:
        PickleError: the content is no pickle, has another opcode, or needs too much memory.
        ForeignGlobalError: the pickle names another function.
    """
    return _Machine(content, functions, budget).run()


class _Machine:
    """The stack machine that a pickle is a program of (PEP 307, PEP 3154; the opcodes are those of `pickletools`)."""

    def __init__(self, content: bytes, functions: Mapping[tuple[str, str], Function], budget: Budget) -> None:
        self._stream = io.BytesIO(content)
        self._most_opcodes = _OPCODES_FREE + len(content) // _BYTES_FOR_ONE
        self._functions = functions
        self._budget = budget
        self._stack: list[Any] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(self._most_opcodes):
            code = self._stream.read(1).decode("latin1")
            opcode = _OPCODES.get(code)
            if opcode is None:
                raise PickleError(f"no opcode is {code!r}" if code else "it has no end")
            if opcode.name == "STOP":
                return self._pop()
            argument = self._argument(opcode)
            if opcode.name in _VALUES:
                self._stack.append(argument)
            elif opcode.name in _STEPS:
                _STEPS[opcode.name](self, argument)
            else:
                raise PickleError(f"opcode {opcode.name} is not needed for data")
        raise PickleError("it consists of too many small parts")

    def _argument(self, opcode: pickletools.OpcodeInfo) -> Any:
        if opcode.name in _CONSTANTS:
            return _CONSTANTS[opcode.name]
        if opcode.arg is None:
            return None
        argument: Any
        if opcode.name == "STRING":  # the reader of pickletools knows ASCII only
            argument = codecs.escape_decode(self._stream.readline().strip()[1:-1])[0]
        else:
            argument = opcode.arg.reader(self._stream)
        if opcode.name in _BYTES_AS_TEXT:
            argument = argument.encode("latin1")
        self._budget.spend(sys.getsizeof(argument))
        return argument

    def _pop(self) -> Any:
        if not self._stack or (self._marks and self._marks[-1] == len(self._stack)):
            raise PickleError("it takes more from the stack than there is")
        return self._stack.pop()

    def _pop_many(self, number: int) -> tuple[Any, ...]:
        items = [self._pop() for _ in range(number)]
        self._budget.spend(_SEQUENCE)
        return tuple(reversed(items))

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise PickleError("it has no mark where one is expected")
        height = self._marks.pop()
        items = self._stack[height:]
        del self._stack[height:]
        self._budget.spend(_SEQUENCE)
        return items

    def _mark(self, _: None) -> None:
        self._budget.spend(_SEQUENCE)
        self._marks.append(len(self._stack))

    def _tuple(self, number: int) -> None:
        self._stack.append(self._pop_many(number))

    def _tuple_from_mark(self, _: None) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _list_from_mark(self, _: None) -> None:
        self._stack.append(self._pop_to_mark())

    def _empty_list(self, _: None) -> None:
        self._budget.spend(_SEQUENCE)
        self._stack.append([])

    def _extend(self, items: list[Any]) -> None:
        target = self._pop()
        if not isinstance(target, list):
            raise PickleError("it appends to something other than a list")
        target.extend(items)
        self._stack.append(target)

    def _append(self, _: None) -> None:
        self._extend([self._pop()])

    def _appends(self, _: None) -> None:
        self._extend(self._pop_to_mark())

    def _put(self, index: int) -> None:
        self._budget.spend(_MEMO_ENTRY)
        value = self._pop()
        self._memo[index] = value
        self._stack.append(value)

    def _memoize(self, _: None) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise PickleError(f"its memo has no entry {index}")
        self._stack.append(self._memo[index])

    def _global(self, module_and_name: str) -> None:
        module, _, name = module_and_name.partition(" ")
        self._find(module, name)

    def _stack_global(self, _: None) -> None:
        name, module = self._pop(), self._pop()
        self._find(module, name)

    def _find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in self._functions:
            raise ForeignGlobalError(f"{module}.{name}")
        self._stack.append(self._functions[module, name])

    def _reduce(self, _: None) -> None:
        arguments, function = self._pop(), self._pop()
        if not callable(function) or not isinstance(arguments, tuple):
            raise PickleError("it calls something other than a function")
        self._budget.spend(_CALL)
        self._stack.append(function(*arguments))

    def _build(self, _: None) -> None:
        state, target = self._pop(), self._pop()
        if not isinstance(target, Restorable):
            raise PickleError("state for something that has none")
        target.restore(state)
        self._stack.append(target)

    def _nothing(self, _: Any) -> None:
        pass


_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
# Opcodes with an argument of their own.
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONSTANTS |= {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_BYTES_AS_TEXT = frozenset({"BINSTRING", "SHORT_BINSTRING"})
_VALUES = _BYTES_AS_TEXT | {
    *("NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("STRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine._nothing,
    "FRAME": _Machine._nothing,
    "MARK": _Machine._mark,
    "TUPLE": _Machine._tuple_from_mark,
    **dict.fromkeys(("TUPLE1", "TUPLE2", "TUPLE3"), _Machine._tuple),
    "EMPTY_LIST": _Machine._empty_list,
    "LIST": _Machine._list_from_mark,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    "MEMOIZE": _Machine._memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    "GLOBAL": _Machine._global,
    "INST": _Machine._global,  # no class of data is made so: its name is foreign
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
}
