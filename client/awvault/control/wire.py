"""What both sides of the control listener agree on.

A request is `POST /control/<operation>` on 127.0.0.1, with the token of
control.json as bearer token. Its body is the operation's request as JSON, or for
`import` the lines of the file. The answer is JSON lines, each an object with one
key: any number of `item` and `progress`, then one `result` or `error`. An answer
that ends before that was cut off.

Both sides are the same release, as a rule, and always the same user. The wire is
not an interface for others and may change with any release; `VERSION` is in the
path so that two releases that meet say so.
"""

from typing import Final

import msgspec

from awvault.service import Failure, Progress

VERSION: Final = 1
PATH: Final = f"/control/{VERSION}/"
REQUEST_BYTES_MAX: Final = 2 * 1024 * 1024
"""An event's data is at most 256 KiB; as text inside JSON it can grow sixfold."""
LINE_BYTES_MAX: Final = 4 * 1024 * 1024

ITEM_PREFIX: Final = b'{"item":'


class Reply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of an answer that is not an item."""

    progress: Progress | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: Failure | None = None


def item_line(item: bytes) -> bytes:
    """Return the line of an item. Items are opaque: any JSON text."""
    return b"%s%s}\n" % (ITEM_PREFIX, item)


def item_of(line: bytes) -> bytes | None:
    """Return the item of a line; None: it is a `Reply`."""
    if line.startswith(ITEM_PREFIX):
        return line[len(ITEM_PREFIX) : -1]
    return None


def reply_line(reply: Reply) -> bytes:
    """Return the line of a reply."""
    return msgspec.json.encode(reply) + b"\n"
