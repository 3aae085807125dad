"""Python values to msgpack and back, strict in both directions.

What travels: None, bool, int of 64 bits, float, str, bytes (also from bytearray and memoryview),
list, tuple (arrives as a list), dict, datetime, UUID, Decimal, set, frozenset, dataclasses (arrive
as maps of their fields) and types given to `register`. Never pickle: decoding creates values of
these types and runs no code but registered decoders.

- Whatever `Codec.pack` accepts, `Codec.unpack_all` takes: one message must not make a receiver
  refuse the whole batch it travels in. The exceptions are made on purpose: a hand-made
  ``msgpack.ExtType`` and a registered decoder that raises.
- A subclass of str, int, list or dict travels as that type, so an ``IntEnum`` or ``StrEnum`` goes
  by value; a plain ``Enum`` is refused.
- A datetime keeps its microseconds and its offset, not the name of its zone: 12:00 in
  ``Europe/Rome`` arrives as 12:00+02:00. ``fold`` selects the offset of an aware one and is
  otherwise dropped.
- Keys of maps and elements of sets must be hashable, so tuples there stay tuples.
- An extension type nobody registered here arrives as ``msgpack.ExtType``.
- **One codec per thread.** It reuses its packer; that is what makes it fast. Within
  a thread it may be re-entered, by a registered encoder or a signal handler that publishes.

Hostile input: an array header of five bytes can claim 4 billion elements, and a thousand of them
nest. So the first attempt allows only short containers, and a frame with longer ones is walked
without building anything (`Unpacker.skip`) before it is decoded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from struct import Struct
from typing import Any, Final, TypeVar
from uuid import UUID

import msgpack

from mesh.wire.frames import MAX_ENTRIES, BadFrame
from patterns.errors import BadPayload

__all__ = ["FIRST_USER_CODE", "LAST_USER_CODE", "Codec", "register"]

T = TypeVar("T")

FIRST_USER_CODE = 32
LAST_USER_CODE = 127
"""The ext codes of registered types; those below 32 are the mesh's, negative ones msgpack's."""

MAX_EXT_DEPTH = 8
"""Sets and registered types within each other. Each level holds a copy of its bytes, so this
bounds the memory of one frame to so many times its size."""

MAX_DECIMAL_CHARS = 4096
"""Text of one Decimal; an exponent is part of it, so this is far above any real number."""

TRUSTED_ITEMS = 1024
"""Elements of one container that are decoded without looking at the frame first. A thousand
nested headers that lie can then allocate 8 MiB, and nearly all real messages take this path."""

KEPT_BUFFER_BYTES = 1024 * 1024
"""A packer whose buffer has grown beyond this is dropped, for the buffer never shrinks: one large
payload would be paid for as long as the node lives."""

_ARRAY: Final = Struct(">BH")
"""The header of a msgpack array of up to 65,535 elements: 0xDC, and how many."""

_DATETIME, _UUID, _DECIMAL, _SET, _FROZENSET = range(1, 6)

_MAX_DATETIME_BYTES: Final = 64
_MAX_USUAL_DATETIME: Final = 32  # characters, with microseconds and an offset in minutes
_SUBSECOND_OFFSET: Final = re.compile(r"([+-])00:00:00\.([0-9]{6})\Z")
_DATACLASSES_KNOWN: Final = 1024
_DECIMALS: Final = Context(traps=[InvalidOperation])
_NATIVE: Final = (int, float, str, bytes, bytearray, memoryview, list, tuple, dict, type(None))

# msgpack's own errors, and those of building the values. RuntimeError is the parent of
# RecursionError, and what a dict that changes while it is packed raises.
_PACK_ERRORS: Final = (TypeError, ValueError, OverflowError, BufferError, RuntimeError)
_UNPACK_ERRORS: Final = (
    msgpack.UnpackException,
    TypeError,
    ValueError,
    ArithmeticError,
    RuntimeError,
)

_encoders: dict[type, tuple[int, Callable[[Any], object]]] = {}
_decoders: dict[int, Callable[[Any], object]] = {}


def register(
    cls: type[T], code: int, encode: Callable[[T], object], decode: Callable[[Any], T]
) -> None:
    """Let instances of exactly `cls` travel, in this process, from now on. Do it at import time,
    with the same code in every process of the mesh.

    :param code: `FIRST_USER_CODE` to `LAST_USER_CODE`, unique in the mesh
    :param encode: turns an instance into anything that can travel (bytes, a list, ...)
    :param decode: gets that value as it arrives and returns an instance. It must take all that
        `encode` gives and check what it gets; if it raises, the whole frame is refused. Instances
        used as keys or in sets must be hashable.
    :raises ValueError: the code is out of range or taken, or the class is, or msgpack packs the
        class by itself and would never ask
    """
    if not FIRST_USER_CODE <= code <= LAST_USER_CODE:
        raise ValueError(f"ext code {code} is not in {FIRST_USER_CODE}..{LAST_USER_CODE}")
    if code in _decoders:
        raise ValueError(f"ext code {code} is already registered")
    if cls in _encoders or cls in _BUILT_IN or cls in (set, frozenset):
        raise ValueError(f"{cls.__qualname__} already has a codec")
    if issubclass(cls, _NATIVE):
        raise ValueError(f"{cls.__qualname__} travels as its base class; no codec can change that")
    _decoders[code] = decode
    _encoders[cls] = code, encode


class Codec:
    """Packs and unpacks for one thread."""

    __slots__ = ("_depth", "_fast", "_keyed", "_packer", "_spares", "_verify", "_wide")

    def __init__(self) -> None:
        self._packer = self._new_packer()
        self._spares: list[Any] = []
        self._depth = 0
        self._verify = False
        self._fast = _Decoder(TRUSTED_ITEMS)
        self._wide = _Decoder()
        self._keyed = _Decoder(pairs_hook=_map_with_hashable_keys)

    def pack(self, value: object) -> bytes:
        """`value` as one msgpack value. Pack an entry as a whole: around a value packed before it
        could be one level deeper (1024 are allowed) than a receiver takes.

        :raises BadPayload: something in it cannot travel; the message says which type and what
            to do. The codec stays usable.
        """
        try:
            packed: bytes = self._packer.pack(value)
        except BadPayload:
            self._verify = False
            raise
        except _PACK_ERRORS as error:
            self._verify = False
            raise BadPayload(_pack_fault(error)) from error
        if self._verify or len(packed) > KEPT_BUFFER_BYTES:
            self._after_unusual_pack(packed)
        return packed

    def unpack_all(self, data: bytes | memoryview, count: int | None = None) -> list[Any]:
        """The msgpack values in `data`, in order.

        :param count: how many there must be. Without it decoding is slower.
        :raises BadFrame: malformed, truncated, too deep, more than `MAX_ENTRIES` values, another
            number than `count`, a key that is not hashable, or wrong data of an extension type
        """
        try:
            if count == 1:
                return [self._fast.one(data)]
            if count is not None and count <= TRUSTED_ITEMS:
                # As one array: that is twice as fast as value by value, and worth the copy.
                values: list[Any] = self._fast.one(_ARRAY.pack(0xDC, count) + data)
                return values
        except BadFrame:
            raise
        except _UNPACK_ERRORS:
            # Long containers, tuples as keys, or malformed: the careful way tells.
            pass
        values = self._unpack_carefully(data) if len(data) else []
        if count is not None and len(values) != count:
            raise BadFrame(f"{len(values)} values, not {count}")
        return values

    def unpack_with(self, data: bytes | memoryview, payload: bytes) -> list[Any]:
        """The one message in `data`, whose payload, nil there, has come as a part of its own.

        :raises BadFrame: as `unpack_all`, or it is no such message
        """
        (entry,) = entries = self.unpack_all(data, 1)
        if not payload or type(entry) is not list or len(entry) < 2 or entry[1] is not None:
            raise BadFrame("a second part that belongs to no message")
        entry[1] = payload
        return entries

    def _unpack_carefully(self, data: bytes | memoryview) -> list[Any]:
        _walk(data)
        try:
            try:
                return self._wide.all(data)
            except TypeError:  # a list as a key: pays for a Python call per map only now
                return self._keyed.all(data)
        except BadFrame:
            raise
        except _UNPACK_ERRORS as error:
            raise BadFrame(f"cannot be decoded: {error}") from error

    def _after_unusual_pack(self, packed: bytes) -> None:
        if len(packed) > KEPT_BUFFER_BYTES:
            self._packer = self._new_packer()
        if self._verify:
            self._verify = False
            try:
                self.unpack_all(packed, 1)
            except BadFrame as error:
                raise BadPayload(
                    "a dataclass arrives as a map, so it cannot be a key or in a set; "
                    "use a tuple, or register a codec for it"
                ) from error

    def _new_packer(self) -> Any:
        return msgpack.Packer(default=self._convert)

    def _convert(self, value: object) -> object:
        """Called by the packer for what it does not know. Whoever packs meanwhile (a set's
        elements, a registered encoder, a signal handler) gets another packer: re-entering a busy
        one corrupts its output without an error."""
        busy = self._packer
        self._packer = self._spares.pop() if self._spares else self._new_packer()
        try:
            return self._converted(value)
        finally:
            if len(self._spares) < MAX_EXT_DEPTH:
                self._spares.append(self._packer)
            self._packer = busy

    def _converted(self, value: object) -> object:
        cls = type(value)
        registered = _encoders.get(cls)
        if registered is not None:
            code, encode = registered
            return self._nested(code, _encoded(encode, value))
        for base in cls.__mro__:
            built_in = _BUILT_IN.get(base)
            if built_in is not None:
                code, to_bytes = built_in
                return _ext(code, to_bytes(value))
        if isinstance(value, set | frozenset):
            return self._nested(_SET if isinstance(value, set) else _FROZENSET, list(value))
        if dataclasses.is_dataclass(cls):
            # Only a hashable one can be a key or in a set, where its map is not hashable.
            self._verify = self._verify or cls.__hash__ is not None
            return _fields(value)
        raise BadPayload(_refusal(value))

    def _nested(self, code: int, value: object) -> object:
        if self._depth >= MAX_EXT_DEPTH:
            raise BadPayload(
                f"sets and registered types are more than {MAX_EXT_DEPTH} deep in each other, "
                "or one contains itself"
            )
        self._depth += 1
        try:
            packed = self._packer.pack(value)
        finally:
            self._depth -= 1
        if len(packed) > KEPT_BUFFER_BYTES:
            self._packer = self._new_packer()
        return _ext(code, packed)


class _Decoder:
    """One way to decode: with containers of at most `max_items`, or, without, of any length that
    fits into bytes which `_walk` has found to be true."""

    __slots__ = ("_depth", "_hook", "_max_items", "_pairs_hook")

    def __init__(
        self,
        max_items: int | None = None,
        pairs_hook: Callable[[list[tuple[Any, Any]]], dict[Any, Any]] | None = None,
    ) -> None:
        self._max_items = max_items
        self._pairs_hook = pairs_hook
        self._hook = self._value
        self._depth = 0

    # strict_map_key is off because ints, tuples and the like are fine keys in Python. The options
    # are written out twice because passing them on as a dict costs 300 ns.

    def unpacker(self, max_bytes: int) -> Any:
        max_items = self._max_items or max_bytes
        return msgpack.Unpacker(
            ext_hook=self._hook,
            object_pairs_hook=self._pairs_hook,
            strict_map_key=False,
            max_array_len=max_items,
            max_map_len=max_items,
            max_buffer_size=max_bytes,
        )

    def one(self, data: bytes | memoryview, use_list: bool = True) -> Any:
        max_items = self._max_items or len(data)
        return msgpack.unpackb(
            data,
            ext_hook=self._hook,
            object_pairs_hook=self._pairs_hook,
            strict_map_key=False,
            max_array_len=max_items,
            max_map_len=max_items,
            use_list=use_list,
        )

    def all(self, data: bytes | memoryview) -> list[Any]:
        unpacker = self.unpacker(len(data))
        unpacker.feed(data)
        return _unpack_until(unpacker, len(data))

    def _value(self, code: int, data: bytes) -> object:
        """The value of an extension type."""
        from_bytes = _FROM_BYTES.get(code)
        if from_bytes is not None:
            try:
                return from_bytes(data)
            except (ValueError, ArithmeticError) as error:
                raise BadFrame(f"bad data of extension type {code}: {error}") from error
        if code in (_SET, _FROZENSET):
            return _set_of(code, self._nested(data, use_list=False))
        decode = _decoders.get(code)
        if decode is None:
            return msgpack.ExtType(code, data)
        value = self._nested(data, use_list=True)
        try:
            return decode(value)
        except Exception as error:  # a user's code, which may raise anything
            raise BadFrame(f"the decoder of extension type {code} failed: {error!r}") from error

    def _nested(self, data: bytes, use_list: bool) -> Any:
        if self._depth >= MAX_EXT_DEPTH:
            raise BadFrame(f"extension types are more than {MAX_EXT_DEPTH} deep in each other")
        if self._max_items is None:
            _walk(data)
        self._depth += 1
        try:
            return self.one(data, use_list)
        finally:
            self._depth -= 1


def _ext(code: int, data: bytes) -> object:
    return msgpack.ExtType._make((code, data))  # its constructor only adds checks


def _walk(data: bytes | memoryview) -> None:
    """Check the structure of all values in `data` and that what headers claim is really there,
    without building anything.

    :raises BadFrame: if not, or there are more than `MAX_ENTRIES`
    """
    size_bytes = len(data)
    if not size_bytes:
        raise BadFrame("a value is missing")
    unpacker = msgpack.Unpacker(
        max_buffer_size=size_bytes, max_array_len=size_bytes, max_map_len=size_bytes
    )
    unpacker.feed(data)
    values = 0
    try:
        while unpacker.tell() < size_bytes:
            unpacker.skip()
            values += 1
            if values > MAX_ENTRIES:
                break
    except msgpack.OutOfData as error:
        raise BadFrame("the last value is truncated") from error
    except (msgpack.UnpackException, ValueError) as error:
        raise BadFrame(f"not msgpack, or nested too deep: {error!r}") from error
    if values > MAX_ENTRIES:
        raise BadFrame(f"more than {MAX_ENTRIES} values")


def _unpack_until(unpacker: Any, end: int) -> list[Any]:
    values: list[Any] = []
    while unpacker.tell() < end:
        values.append(unpacker.unpack())
        if len(values) > MAX_ENTRIES:
            raise BadFrame(f"more than {MAX_ENTRIES} values")
    return values


def _map_with_hashable_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {_hashable(key): value for key, value in pairs}


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def _set_of(code: int, elements: object) -> object:
    if not isinstance(elements, tuple):
        raise BadFrame(f"a set is of type {type(elements).__name__}, not an array")
    try:
        return set(elements) if code == _SET else frozenset(elements)
    except TypeError as error:
        raise BadFrame(f"bad element of a set: {error}") from error


def _datetime_to_bytes(value: datetime) -> bytes:
    return datetime.isoformat(value).encode()  # a subclass may say it differently


def _datetime_from_bytes(data: bytes) -> datetime:
    if len(data) > _MAX_DATETIME_BYTES:
        raise ValueError("too long")
    text = data.decode("ascii")
    value = datetime.fromisoformat(text)
    if len(text) > _MAX_USUAL_DATETIME:
        # CPython 3.11 reads an offset of less than a second as UTC.
        subsecond = _SUBSECOND_OFFSET.search(text)
        if subsecond:
            offset = timedelta(microseconds=int(subsecond[1] + subsecond[2]))
            value = value.replace(tzinfo=timezone(offset))
    return value


def _decimal_to_bytes(value: Decimal) -> bytes:
    text = str(value)
    if len(text) > MAX_DECIMAL_CHARS:
        raise BadPayload(f"a Decimal of {len(text)} characters; at most {MAX_DECIMAL_CHARS}")
    return text.encode()


def _decimal_from_bytes(data: bytes) -> Decimal:
    if len(data) > MAX_DECIMAL_CHARS:
        raise ValueError("too long")
    return Decimal(data.decode("ascii"), _DECIMALS)


def _uuid_from_bytes(data: bytes) -> UUID:
    return UUID(bytes=data)


_BUILT_IN: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    datetime: (_DATETIME, _datetime_to_bytes),
    UUID: (_UUID, UUID.bytes.fget),  # type: ignore[attr-defined]
    Decimal: (_DECIMAL, _decimal_to_bytes),
}
_FROM_BYTES: Final[dict[int, Callable[[bytes], object]]] = {
    _DATETIME: _datetime_from_bytes,
    _UUID: _uuid_from_bytes,
    _DECIMAL: _decimal_from_bytes,
}


@lru_cache(maxsize=_DATACLASSES_KNOWN)
def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def _fields(value: object) -> dict[str, object]:
    cls: Any = type(value)
    try:
        return {name: getattr(value, name) for name in _field_names(cls)}
    except AttributeError as error:
        raise BadPayload(f"a field of a dataclass is not set: {error}") from error


def _encoded(encode: Callable[[Any], object], value: object) -> object:
    try:
        return encode(value)
    except Exception as error:  # a user's code, which may raise anything
        raise BadPayload(
            f"the registered encoder of {type(value).__qualname__} failed: {error!r}"
        ) from error


_ADVICE: Final[tuple[tuple[Any, str], ...]] = (
    (Enum, "send its .value"),
    ((date, time), "send a datetime, or .isoformat()"),
    (timedelta, "send .total_seconds()"),
    (complex, "send [real, imag]"),
    (Mapping, "send dict(...) of it"),
    (Iterable, "send list(...) of it"),
)


def _refusal(value: object) -> str:
    if isinstance(value, int):
        return "an int beyond 64 bits cannot travel; send it as a Decimal or str"
    cls = type(value)
    advice = "send plain values, or register a codec for it"
    if hasattr(cls, "tolist"):
        advice = "send .tolist()"
    else:
        advice = next((text for kind, text in _ADVICE if isinstance(value, kind)), advice)
    return f"a value of type {cls.__module__}.{cls.__qualname__} cannot travel; {advice}"


def _pack_fault(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "a str holds a lone surrogate, which UTF-8 cannot carry; send bytes"
    if isinstance(error, BufferError):
        return "a memoryview that is not contiguous cannot travel; send bytes(...) of it"
    if isinstance(error, ValueError) and "recursion" in str(error):
        return "a value is nested too deep, or contains itself"
    return f"cannot be packed: {error}"
