"""JSON that msgspec will not take: what to keep of it, and what to say about it.

msgspec reads every ordinary body. It refuses lone surrogates, which the
standard library reads and which must not be lost, and its messages do not say
on which line a body breaks. So whatever it refuses is read again here, slowly.
"""

import json
import re
from json import JSONDecodeError
from typing import Final

from awvault.errors import InvalidInputError

BODY: Final = "body"
"""The field named when the whole body is wrong."""

_QUOTED_NAME: Final = "Expecting property name enclosed in double quotes"
_MESSAGES: Final = {
    _QUOTED_NAME: "expected a name in double quotes",
    "Expecting value": "expected a value",
    "Expecting ':' delimiter": 'expected ":"',
    "Expecting ',' delimiter": 'expected "," or the closing bracket',
    "Extra data": "expected nothing more",
    "Unterminated string starting at": "a string that begins here does not end",
    "Invalid control character at": "a string holds a control character",
    "Invalid \\escape": "unknown escape",
    "Invalid \\uXXXX escape": "expected four hexadecimal digits",
}
_DETAIL: Final = re.compile(r": .*", re.DOTALL)


def load(body: bytes) -> object:
    """Return what `body` says, or raise `InvalidInputError` saying where it breaks.

    NaN and Infinity come through as floats: the caller knows the field to name.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            BODY, f"expected UTF-8, which byte {error.start} is not"
        ) from None
    if not text.strip():
        raise InvalidInputError(BODY, "expected JSON, got nothing")
    try:
        return json.loads(text)
    except JSONDecodeError as error:
        kind = _DETAIL.sub("", error.msg)
        raise InvalidInputError(
            BODY,
            f"not valid JSON: {_MESSAGES.get(kind, kind.lower())}"
            f" at line {error.lineno}, column {error.colno}",
        ) from None
    except RecursionError:
        raise InvalidInputError(BODY, "nested too deeply") from None
    except ValueError:
        # The only other one: an integer of thousands of digits.
        raise InvalidInputError(BODY, "a number has too many digits") from None


def dump(value: object, *, field: str) -> bytes:
    """Return `value` as JSON text in ASCII; `field` is named if it has none."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError:
        raise InvalidInputError(field, "nested too deeply") from None
    except ValueError:
        raise InvalidInputError(
            field, "NaN, Infinity and numbers beyond 1.8e308 are not allowed"
        ) from None
