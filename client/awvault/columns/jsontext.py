r"""The data of an event: JSON text, compact, and as its sender meant it.

Data is kept as text from end to end and parsed only where someone looks into
it. Compact text is a JSON object without white space, in UTF-8. The order of
keys is the sender's; of a key that comes twice the last value stays; integers
keep every digit and other numbers their value as IEEE 754 doubles. Half of a
surrogate pair, which titles on Windows hold and UTF-8 cannot, stays as its
escape (`\ud83d`).
"""

import json
import math
import re
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

import msgspec
import numpy as np

from awvault.errors import InvalidInputError, LimitError

EVENT_DATA_BYTES_MAX: Final = 256 * 1024
"""Bytes of one event's data, as compact text."""

RAW_BYTES_MAX: Final = 1024 * 1024
"""Bytes of one event's data as it was sent: escapes and spaces take more."""

DEPTH_MAX: Final = 64
"""Objects and arrays inside each other, the outermost counted."""

INTEGER_DIGITS_MAX: Final = 4_300
"""Digits of an integer. Reading a longer one takes quadratic time."""

_FIELD: Final = "data"
_PLACE_CHARS_MAX: Final = 100


class _AnyObject(msgspec.Struct, gc=False):
    """A JSON object of which nothing is kept."""


_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_skim: Final = msgspec.json.Decoder(_AnyObject).decode
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_OPENING: Final = ord("{")
_CLOSING: Final = ord("}")

# What msgspec raises for what it cannot read: no JSON, a lone surrogate, a
# number out of range, bytes that are no UTF-8, or nesting without end.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def compact(raw: bytes) -> bytes:
    """Return the compact text of a JSON object, as a client sent it.

    Raises `InvalidInputError` for what is no JSON object or cannot be kept
    (NaN, Infinity, 1e400), naming the place as in `data.tabs[3].width`, and
    `LimitError` for what is too long or too deep.
    """
    if len(raw) > RAW_BYTES_MAX:
        raise _too_long(len(raw), RAW_BYTES_MAX)
    try:
        value = _decode(raw)
        if type(value) is dict:
            if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:
                _check(value)
            text = _encode(value)
        else:
            text = _compact_slowly(raw)
    except _UNREADABLE:
        text = _compact_slowly(raw)
    if len(text) > EVENT_DATA_BYTES_MAX:
        raise _too_long(len(text), EVENT_DATA_BYTES_MAX)
    return text


def compact_value(raw: bytes) -> bytes:
    """Return the compact text of any JSON value, as `compact` does of an object."""
    if len(raw) > RAW_BYTES_MAX:
        raise _too_long(len(raw), RAW_BYTES_MAX)
    try:
        value = _decode(raw)
        _check(value)
        text = _encode(value)
    except _UNREADABLE:
        text = _compact_any_slowly(_load(raw))
    if len(text) > EVENT_DATA_BYTES_MAX:
        raise _too_long(len(text), EVENT_DATA_BYTES_MAX)
    return text


def compact_many(raws: Sequence[bytes]) -> list[bytes]:
    """Return the compact text of each; the error names the wrong one, `[3].data`.

    What is usual is read and written all at once, in a third of the time.
    """
    if not raws:
        return []
    # Each by itself is one object; then together they are as many.
    if not any(map(_may_be_deep, raws)) and _are_readable(raws):
        try:
            values = _decode(b"[%b]" % b",".join(raws))
        except _UNREADABLE:
            values = []
        if values:
            texts = _encode_lines(values).split(b"\n")[:-1]
            if len(max(texts, key=len)) <= EVENT_DATA_BYTES_MAX:
                return texts
    found = []
    for at, raw in enumerate(raws):
        try:
            found.append(compact(raw))
        except InvalidInputError as error:
            raise error.within(f"[{at}]") from None
    return found


def decode(text: bytes) -> dict[str, Any]:
    """Return compact text as a dict."""
    try:
        value = _decode(text)
    except _UNREADABLE:
        value = _load(text)
    if type(value) is not dict:
        raise InvalidInputError(_FIELD, f"expected an object, got {type_name(value)}")
    return value


def encode(value: dict[str, Any]) -> bytes:
    """Return what `decode` gave as compact text."""
    try:
        return _encode(value)
    except _UNREADABLE:
        return _compact_any_slowly(value)


def equality_key(text: bytes) -> Hashable:
    """Return a key that two texts share exactly if they say the same.

    The order of keys is of no account, and 1 is 1.0; true is not 1, and "1" is
    neither. Integers of any size compare with other numbers by value.
    """
    return _key(decode(text))


def are_objects(texts: Sequence[bytes]) -> bool:
    """Tell whether each is the text of a JSON object, at most DEPTH_MAX deep.

    For text that was read back and not compacted here: 0.1 us each.
    """
    if not texts:
        return True
    joined = b"".join(texts)
    characters = np.frombuffer(joined, dtype=np.uint8)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    if not lengths.all():
        return False
    lasts = lengths.cumsum() - 1
    braced = (characters[lasts] == _CLOSING) & (
        characters[lasts - lengths + 1] == _OPENING
    )
    # What is deeper has more characters than the brackets that make it so.
    long: list[int] = np.flatnonzero(lengths > 2 * DEPTH_MAX).tolist()
    return (
        bool(braced.all())
        and _is_utf8(joined)
        and (_are_readable(texts) or all(map(_is_readable, texts)))
        and all(_is_shallow(texts[at]) for at in long)
    )


def _may_be_deep(text: bytes) -> bool:
    # What is too deep has more characters than the brackets that make it so.
    return len(text) > 2 * DEPTH_MAX and (
        len(text) > RAW_BYTES_MAX or text.count(b"{") + text.count(b"[") > DEPTH_MAX
    )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _are_readable(texts: Iterable[bytes]) -> bool:
    try:
        # Each is read to its end, and nothing is made of it.
        deque(map(_skim, texts), maxlen=0)
    except _UNREADABLE:
        return False
    return True


def _is_readable(text: bytes) -> bool:
    """Tell what `_are_readable` does not: a text may hold lone surrogates."""
    if _are_readable([text]):
        return True
    try:
        json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_shallow(text: bytes) -> bool:
    """Tell whether valid JSON is at most DEPTH_MAX deep.

    Only its brackets are looked at: to build and walk what it says would take a
    second for each 2 MB of brackets, which compress to nearly nothing.
    """
    if text.count(b"{") + text.count(b"[") <= DEPTH_MAX:
        return True
    characters = np.frombuffer(_STRING.sub(b"", text), dtype=np.uint8)
    steps = np.zeros(len(characters), dtype=np.int32)
    for opening, closing in (b"{}", b"[]"):
        steps += characters == opening
        steps -= characters == closing
    return int(np.cumsum(steps).max()) <= DEPTH_MAX


def _compact_slowly(raw: bytes) -> bytes:
    """Read with the standard library: it keeps more, and says what is wrong."""
    value = _load(raw)
    if not isinstance(value, dict):
        raise InvalidInputError(_FIELD, f"expected an object, got {type_name(value)}")
    return _compact_any_slowly(value)


def _compact_any_slowly(value: object) -> bytes:
    _check(value)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Only lone surrogates have no UTF-8, and they stand only inside of strings.
    return text.encode("utf-8", "backslashreplace")


def _load(raw: bytes) -> object:
    try:
        value: object = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            _FIELD, f"expected UTF-8, which byte {error.start} is not"
        ) from None
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            _FIELD, f"not valid JSON: it breaks at character {error.pos}"
        ) from None
    except RecursionError:
        raise _too_deep(_FIELD) from None
    except ValueError:
        raise LimitError(
            _FIELD, f"an integer has more than {INTEGER_DIGITS_MAX} digits"
        ) from None
    return value


def _check(value: object) -> None:
    """Refuse numbers that are none, and too much depth, naming the place."""
    stack: list[tuple[str, Iterator[tuple[str, object]]]] = [
        ("", iter([(_FIELD, value)]))
    ]
    while stack:
        for place, item in stack[-1][1]:
            if isinstance(item, dict | list):
                if len(stack) > DEPTH_MAX:
                    raise _too_deep(place)
                stack.append((place, _members(place, item)))
                break
            if isinstance(item, float) and not math.isfinite(item):
                raise InvalidInputError(
                    place, "NaN, Infinity and numbers beyond 1.8e308 are not allowed"
                )
        else:
            stack.pop()


def _members(
    place: str, value: dict[str, object] | list[object]
) -> Iterator[tuple[str, object]]:
    # A place is repeated to its sender, and cut: keys may be long.
    if isinstance(value, list):
        return (
            (f"{place}[{at}]"[:_PLACE_CHARS_MAX], item) for at, item in enumerate(value)
        )
    return (
        (
            (place + "." + key[:_PLACE_CHARS_MAX])[:_PLACE_CHARS_MAX]
            .encode("ascii", "backslashreplace")
            .decode(),
            item,
        )
        for key, item in value.items()
    )


def _key(value: Any) -> Hashable:
    if isinstance(value, dict):
        return "{", frozenset([(name, _key(item)) for name, item in value.items()])
    if isinstance(value, list):
        return "[", tuple([_key(item) for item in value])
    if isinstance(value, bool):
        # Tagged, for True == 1.
        return "b", value
    # None, a string or a number: Python compares those by value, and exactly.
    known: str | int | float | None = value
    return known


def _too_long(got: int, allowed: int) -> LimitError:
    return LimitError(_FIELD, f"has {got} bytes, at most {allowed} are kept")


def _too_deep(place: str) -> LimitError:
    return LimitError(
        place, f"nested too deeply: at most {DEPTH_MAX} objects and arrays"
    )


def type_name(value: object) -> str:
    """Return what JSON calls the type of `value`, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
