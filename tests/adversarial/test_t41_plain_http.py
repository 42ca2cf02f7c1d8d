"""T41: plain http to another machine, and a certificate that nobody vouches for.

The adversary sits on the network. A client talks to nobody whom it cannot be sure
of, unless its owner says so; and no flag turns off the check of a certificate.
"""

import ssl
from pathlib import Path
from typing import Final

import pytest

from awvault.errors import CertificateError, InvalidInputError, TransportError
from awvault.sync.channel import host_origin
from awvault.sync.transport import HostClient
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.hostile import answer, hostile, self_signed
from tests.helpers.lying_host import LyingHost

INFO: Final = b'{"api":1,"registration":"open"}'

ELSEWHERE: Final = (
    "http://host.example",
    "http://192.0.2.1:8080",
    "http://[2001:db8::1]",
    "http://127.0.0.1.host.example",
    "http://localhost.host.example",
    "http://0.0.0.0",
    "HTTP://HOST.EXAMPLE",
)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    """The address alone is reason enough: nothing is sent, not even a name asked."""
    with pytest.raises(InvalidInputError):
        host_origin(url)
    with pytest.raises(InvalidInputError):
        HostClient(url)

    assert host_origin(url, insecure=True).startswith("http://")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"]
)
def test_this_machine_needs_no_flag(url: str) -> None:
    """What does not leave the machine is not read on a network."""
    assert host_origin(url) == url


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path,
) -> None:
    """Nothing is said to who shows it, and it is named; a root can be added."""
    certificate, key = self_signed(tmp_path)
    speaks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    speaks.load_cert_chain(certificate, key)
    trusted = ssl.create_default_context(cafile=str(certificate))

    async with hostile(answer(INFO), trust=speaks) as server:
        for insecure in (False, True):
            async with HostClient(server.url, insecure=insecure) as client:
                with pytest.raises(CertificateError):
                    await client.info()
        assert server.requests == []

        async with HostClient(server.url, trust=trusted) as client:
            assert (await client.info()).api == 1


async def test_https_is_not_talked_down_to_http(host: LyingHost) -> None:
    """A host that speaks no TLS is not spoken to without it."""
    with FaultProxy(host.port) as proxy:
        async with HostClient(f"https://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(TransportError):
                await client.prelogin("ann")

        assert b"prelogin" not in proxy.sent("up")
        assert b"ann" not in proxy.sent("up")
