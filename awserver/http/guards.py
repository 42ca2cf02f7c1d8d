"""Who asks: the address behind a proxy, the token, and how many wait at once.

The header Host is not looked at. A host knows its origins from its settings, and a
proof names one of them; whatever a client or a proxy writes there decides nothing.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from aiohttp import web

from awserver.errors import SessionInvalidError

TOKEN_CHARS_MAX: Final = 128
FORWARDED_CHARS_MAX: Final = 1024
"""Of the header X-Forwarded-For."""

ADDRESS_PREFIX_BITS_V6: Final = 64
"""One customer of a provider has at least so many IPv6 addresses."""

UNKNOWN_ADDRESS: Final = "unknown"

Network = IPv4Network | IPv6Network

_BEARER: Final = re.compile(r"[Bb]earer +([A-Za-z0-9_-]+)")


def token_of(request: web.Request) -> str:
    """Return the token that a request came with; raises `SessionInvalidError`."""
    given = request.headers.get("Authorization")
    if given is not None and len(given) <= TOKEN_CHARS_MAX:
        match = _BEARER.fullmatch(given)
        if match is not None:
            return match[1]
    raise SessionInvalidError


class Addresses:
    """Says whose address a request has."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        """Believe X-Forwarded-For where it comes from these networks."""
        self._trusted: list[Network] = [ip_network(one) for one in trusted]

    def trusts(self, address: str) -> bool:
        """Say whether this is one of our own proxies."""
        if not self._trusted:
            return False
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._trusted)

    def of(self, request: web.Request) -> str:
        """Return the address of whoever asks, as text.

        Of X-Forwarded-For, the last entry that no trusted proxy wrote about
        itself: what stands before it, anybody may have written.
        """
        address = peer_of(request.transport)
        if not self._trusted or not self.trusts(address):
            return address
        given = ",".join(request.headers.getall("X-Forwarded-For", []))
        if len(given) > FORWARDED_CHARS_MAX:
            return address
        for entry in reversed(given.split(",")):
            text = entry.strip()
            try:
                found = str(ip_address(text.strip("[]")))
            except ValueError:
                return address
            address = found
            if not self.trusts(address):
                break
        return address


def peer_of(transport: asyncio.BaseTransport | None) -> str:
    """Return the address at the other end of a connection."""
    peer = None if transport is None else transport.get_extra_info("peername")
    if isinstance(peer, tuple) and peer and isinstance(peer[0], str):
        return peer[0]
    return UNKNOWN_ADDRESS


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or an IPv6 /64."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ip_network((found, ADDRESS_PREFIX_BITS_V6), strict=False))
    return str(found)


class Polls:
    """Requests that wait for something to happen.

    They end when whoever asked is gone, and all at once when the host stops.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: dict[object, asyncio.Task[object]] = {}
        self.stopping = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._tasks)

    @contextlib.contextmanager
    def waiting(self, request: web.Request) -> Iterator[None]:
        """Let what is awaited inside be ended; it leaves quietly if the host stops.

        Not to be entered once it stops.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a handler is one
        connection = request.protocol
        self._tasks[connection] = task
        try:
            yield
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            task.uncancel()
        finally:
            self._tasks.pop(connection, None)

    def lost(self, connection: object) -> None:
        """End the request of a connection that is gone."""
        task = self._tasks.pop(connection, None)
        if task is not None:
            task.cancel()

    def stop(self) -> None:
        """End every one, and let no other begin."""
        self.stopping = True
        for task in list(self._tasks.values()):
            task.cancel()
