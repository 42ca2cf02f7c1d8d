"""T02: what travels between client and host has no field that nobody decided on.

Every field of every request and answer of /api/1, and every header that a client
sends, stands on a list here: what tells a host more is noticed when it is added.
"""

import re
from collections.abc import AsyncIterator
from inspect import isclass
from typing import Final

import msgspec
import pytest

from awserver import wire
from awvault.sync.transport import HostClient
from tests.helpers.fault_proxy import LOOPBACK, FaultProxy
from tests.helpers.hosts import Member, Visitor
from tests.helpers.lying_host import LyingHost

PROOF: Final = {"client_id", "nonce", "client_nonce"}

FIELDS: Final = {
    "AppendAnswer": {"head", "new"},
    "ChangesAnswer": {"entries", "version"},
    "ClientHead": {"client_id", "seq", "hash", "entries", "stored_bytes"},
    "ClientInfo": {
        *("client_id", "number", "entries", "stored_bytes", "head_seq", "revoked"),
    },
    "ClientsAnswer": {"clients"},
    "DeleteRequest": {*PROOF, "by", "signature"},
    "DocumentRequest": {*PROOF, "document", "keys_blob", "by", "signature"},
    "HeadInfo": {"seq", "hash"},
    "HeadsAnswer": {"heads", "version", "entries"},
    "InfoAnswer": {"api", "registration"},
    "PreloginAnswer": {"salt", "nonce"},
    "PreloginRequest": {"username"},
    "Problem": {
        *("type", "title", "status", "code", "detail"),
        *("expected_seq", "got_seq", "expected_version", "got_version"),
    },
    "Proven": PROOF,
    "RegisterProofs": {"login", "client", "signing", "recovery"},
    "RegisterRequest": {
        *PROOF,
        *("username", "documents", "keys_blob", "proofs", "invite"),
    },
    "RestoreRequest": {*PROOF, "username", "documents", "keys_blob", "signature"},
    "SessionAnswer": {"token", "account_id", "version"},
    "SessionInfo": {"id", "client_id", "created", "seen", "current"},
    "SessionRequest": {*PROOF, "username", "by", "signature"},
    "SessionsAnswer": {"sessions"},
    "UsageAnswer": {"entries", "stored_bytes", "quota_bytes"},
    "VersionAnswer": {"version"},
    "Wire": set(),
}

HEADERS: Final = {
    *("host", "accept-encoding", "content-type", "content-length"),
    "authorization",
}
"""That a client sends: no version, no language, no cookie."""


def test_every_field_is_on_the_list() -> None:
    """A type or a field more, and this fails."""
    found = {
        name: set(kind.__struct_fields__)
        for name, kind in vars(wire).items()
        if isclass(kind)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__ == wire.__name__
    }

    assert found == FIELDS


@pytest.fixture
async def client(host: LyingHost) -> AsyncIterator[tuple[FaultProxy, HostClient]]:
    with FaultProxy(host.port) as proxy:
        async with HostClient(f"http://{LOOPBACK}:{proxy.port}") as made:
            yield proxy, made


async def test_every_header_is_on_the_list(
    member: Member,
    mine: Visitor,
    host: LyingHost,
    client: tuple[FaultProxy, HostClient],
) -> None:
    """Of a request with a body and of one without."""
    proxy, talking = client
    await talking.info()
    await talking.prelogin(member.username)

    heads = [
        one.partition(b"\r\n\r\n")[0]
        for one in re.split(rb"(?=(?:GET|POST) /api/1/)", proxy.sent("up"))
        if one.startswith((b"GET", b"POST"))
    ]
    names = {
        line.partition(b":")[0].decode().lower()
        for head in heads
        for line in head.split(b"\r\n")[1:]
    }

    assert len(heads) == 2
    assert names <= HEADERS
