"""T01: no byte of what the owner stores is readable on disk or in a log."""

import asyncio
import base64
import json
import logging
import struct
import zlib
from pathlib import Path

import pytest

from awserver.logs import JsonFormatter
from awvault.gateway.settings import GatewaySettings
from tests.adversarial.everything import (
    DURATIONS_US,
    MOMENTS_US,
    TEXTS,
    Here,
    Life,
    be_refused,
    iso,
    live,
    needles,
    watch,
)
from tests.helpers.canaries import Search, bytes_needles, compressed
from tests.helpers.processes import Root, home
from tests.integration.gateway.running import running

pytestmark = pytest.mark.timeout(300)

NAMES_ALLOWED = frozenset(
    {
        "vault.db",
        "vault.db-wal",
        "vault.db-shm",
        "vault.lock",
        "control.json",
    }
)


def _assert_was_there(life: Life) -> None:
    """The canaries were stored: the search finds them where they belong."""
    shown = b"\n".join(life.shown.values())
    expected = TEXTS.keys() - {"refused", "passphrase", "hidden bucket", "setting"}
    expected -= {"filtered"}
    expected |= MOMENTS_US.keys() | DURATIONS_US.keys()
    found = {needle.canary for needle in Search(needles()).found(shown)}
    assert expected <= found, expected - found
    assert "filtered" not in found


async def test_no_canary_from_a_gateway_in_this_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As below, without commands and kills: the disk and the log of one gateway."""
    caplog.set_level(logging.DEBUG)
    with home(tmp_path / "home") as where:
        life = Life(where)
        async with running(where.data_dir, GatewaySettings(testing=True)) as api:
            here = Here(api.port)
            await asyncio.to_thread(watch, life, here)
            await asyncio.to_thread(be_refused, life, here)
            life.search.check_tree(where.data_dir)
        life.search.check_tree(where.data_dir)
        for record in caplog.records:
            if record.name.startswith(("awvault", "awserver", "aiohttp")):
                life.search.check("the log", JsonFormatter().format(record).encode())


def test_no_canary_on_disk_or_in_a_log(tmp_path: Path) -> None:
    """Everything is done with canaries in every field; none is found afterwards."""
    with home(
        tmp_path / "home",
        root=Root.FORKED,
        passphrase=TEXTS["passphrase"],
        log_level="debug",
    ) as where:
        life = Life(where)
        live(life)
        _assert_was_there(life)
        assert life.files_seen <= NAMES_ALLOWED, life.files_seen - NAMES_ALLOWED
        # The server did log, or its silence would prove nothing.
        assert all(server.stderr.count("\n") > 1 for server in where.servers)
        assert life.search.bytes_seen > 1_000_000


def test_no_canary_with_the_shipped_commands(tmp_path: Path) -> None:
    """The installed commands, with the passphrase that they generate themselves.

    The generated passphrase is in its file in the configuration directory, and
    nowhere else.
    """
    with home(
        tmp_path / "home", root=Root.SHIPPED, passphrase=None, log_level="debug"
    ) as where:
        life = Life(where)
        live(life, is_dear=True)
        _assert_was_there(life)
        assert life.files_seen <= NAMES_ALLOWED
        (kept,) = where.config_dir.iterdir()
        assert kept.stat().st_mode & 0o777 == 0o600
        passphrase = kept.read_bytes().strip()
        assert len(passphrase) > 20
        search = Search({"passphrase": list(bytes_needles("passphrase", passphrase))})
        search.check_tree(where.directory, but=frozenset({kept.name}))
        for name, output in life.output():
            search.check(name, output)
        assert search.found(kept.read_bytes())


@pytest.mark.parametrize("name", sorted({**TEXTS, **MOMENTS_US, **DURATIONS_US}))
def test_the_search_finds_what_is_there(name: str) -> None:
    """A leak in JSON, hex, base64 or binary is found, in the midst of other bytes."""
    search = Search(needles())
    leaks: list[bytes] = []
    if name in TEXTS:
        text = TEXTS[name]
        plain = text.encode()
        leaks += [
            plain,
            json.dumps({"a": text}).encode(),
            json.dumps(json.dumps({"a": text})).encode(),
            text.encode("utf-16"),
            text.encode("utf-16-be"),
            plain.hex().encode(),
            plain.hex().upper().encode(),
            plain[::-1],
            text.upper().encode(),
            # Compressed, with enough around it that the word itself is cut up.
            compressed(b"%s and again %s" % (plain, plain[::2] * 20)),
            zlib.compress(b"%s and again %s" % (plain, plain[::2] * 20)),
        ]
        leaks += [base64.b64encode(b"x" * at + plain + b"y") for at in range(4)]
        leaks += [base64.urlsafe_b64encode(b"x" * at + plain) for at in range(4)]
    else:
        number = {**MOMENTS_US, **DURATIONS_US}[name]
        for unit in (1, 1_000, 1_000_000):
            leaks += [
                (number // unit).to_bytes(8, "little"),
                (number // unit).to_bytes(8, "big"),
            ]
        leaks += [str(number).encode(), f"{number / 1e6:.6f}".encode()]
    if name in MOMENTS_US:
        leaks += [iso(name).encode(), iso(name)[:19].encode()]
    for leak in leaks:
        hits = search.found(b"\x80\xffbefore" + leak + b"after\x00")
        assert name in {needle.canary for needle in hits}, leak
    assert not search.found(bytes(range(256)) * 100)


def test_short_needles_count_only_together() -> None:
    """Four bytes turn up by chance; two moments at once do not."""
    search = Search(needles())
    one, other = list(MOMENTS_US.values())[:2]
    first = struct.pack("<I", one // 1_000_000)
    second = struct.pack(">I", other // 1_000_000)
    assert not search.found(b"--" + first + b"--")
    assert search.found(b"--" + first + b"--" + second)
