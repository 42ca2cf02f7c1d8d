"""An event's data as JSON text: checked once, kept compact, parsed lazily.

Kept: the order of keys, numeric values of any size, text to the last code
unit. Not kept: white space, the spelling of numbers, all but the last of equal
keys.
"""

import json
import math
from collections.abc import Hashable
from typing import Any, Final

import msgspec

from awvault.columns.payload import TEXT_BYTES_MAX
from awvault.errors import InvalidInputError, LimitError

EVENT_DATA_BYTES_MAX: Final = TEXT_BYTES_MAX
DEPTH_MAX: Final = 64
"""Objects and arrays inside one another."""

FIELD: Final = "data"


def compact(raw: bytes) -> bytes:
    """Return the compact form of a JSON object, as it is stored.

    UTF-8; text with half of a surrogate pair is written in escapes, for it has
    no other form. Raises `InvalidInputError` for anything but an object, for
    NaN, infinities and numbers beyond a float, for nesting beyond DEPTH_MAX,
    and `LimitError` above EVENT_DATA_BYTES_MAX. Field is "data".
    """
    if len(raw) > 2 * EVENT_DATA_BYTES_MAX:
        raise _too_large(len(raw))
    value = _decode(raw)
    if not isinstance(value, dict):
        raise InvalidInputError(FIELD, f"data must be an object, got {_kind(value)}")
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:
        _check_depth(value, DEPTH_MAX)
    text = _encode(value)
    if len(text) > EVENT_DATA_BYTES_MAX:
        raise _too_large(len(text))
    return text


def decode(text: bytes) -> dict[str, Any]:
    """Return what a stored text holds."""
    value = _decode(text)
    if not isinstance(value, dict):
        raise InvalidInputError(FIELD, f"data must be an object, got {_kind(value)}")
    return value


def equality_key(text: bytes) -> Hashable:
    """Return a key that is equal for texts of equal value.

    The order of keys does not count, and 1 equals 1.0; true does not equal 1.
    """
    return _key(_decode(text))


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        # Lone surrogates are the one thing that the standard library reads
        # and msgspec does not; what both refuse, it can say more about.
        return _decode_slowly(raw)


def _decode_slowly(raw: bytes) -> Any:
    try:
        return json.loads(
            raw.decode("utf-8", "surrogatepass"),
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            FIELD, f"data is not JSON: {error.msg} at character {error.pos}"
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            FIELD, f"data is not UTF-8: byte {error.start} is out of place"
        ) from None
    except InvalidInputError:
        raise
    except ValueError:  # Python converts at most 4,300 digits
        raise InvalidInputError(
            FIELD, "data holds a number of too many digits"
        ) from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidInputError(
            FIELD, f"data holds the number {text[:40]}, larger than any float"
        )
    return value


def _refuse_constant(name: str) -> float:
    raise InvalidInputError(FIELD, f"data holds {name}, which is not JSON")


def _encode(value: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError, ValueError):
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise _too_deep()
    for inner in value.values() if isinstance(value, dict) else value:
        _check_depth(inner, left - 1)


def _key(value: Any) -> Hashable:
    match value:
        case dict():
            return ("object", frozenset((k, _key(v)) for k, v in value.items()))
        case list():
            return ("array", tuple(_key(v) for v in value))
        case bool():
            return ("boolean", value)
        case int() | float():
            # Python compares and hashes these by value, exactly.
            return ("number", value)
        case _:
            return ("other", value)


def _kind(value: Any) -> str:
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


def _too_large(size: int) -> LimitError:
    return LimitError(
        FIELD,
        f"data of one event has {size} bytes, at most {EVENT_DATA_BYTES_MAX} are kept",
    )


def _too_deep() -> InvalidInputError:
    return InvalidInputError(
        FIELD, f"data is nested deeper than {DEPTH_MAX} objects and arrays"
    )
