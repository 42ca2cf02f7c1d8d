"""T03: no key, seed or passphrase is on disk or in a log, in any encoding.

Every secret that the program makes is an object of `awvault.crypto.keys`. The
test watches them being made, and then looks for their bytes.
"""

import contextlib
import json
from pathlib import Path

import pytest

from awvault.testing import open_vault
from tests.helpers.canaries import Search, bytes_needles
from tests.helpers.processes import PASSPHRASE, Root, home
from tests.helpers.vaults import A, B, beat, correct, insert
from tests.helpers.watching import search_for, secret_kinds, watching

pytestmark = pytest.mark.timeout(300)


async def test_no_secret_on_disk_or_in_a_log(tmp_path: Path) -> None:
    """A vault is made, used, sealed, opened again, and served; then we look."""
    with (
        watching() as secrets,
        home(tmp_path / "home", root=Root.FORKED, log_level="debug") as where,
    ):
        for _ in range(2):
            async with await open_vault(where.data_dir, passphrase=PASSPHRASE) as v:
                await v.create_bucket("b", type="t")
                numbers = await insert(v, (0, 1, A), (1, 1, B))
                await correct(v, numbers[0], 2, 2, B)
                await v.seal_now()
                await beat(v, 100)
            search_for(secrets).check_tree(where.data_dir)
        server = where.serve()
        assert where.run("add", "b", '{"x":1}').status == 0
        outputs = [
            where.run(command, "--json")
            for command in ("status", "verify", "host-view", "usage", "doctor")
        ]
        assert all(done.status == 0 for done in outputs), outputs
        token = json.loads((where.data_dir / "control.json").read_text())["token"]
        search = search_for(secrets)
        search.check_tree(where.directory, but=frozenset({"passphrase"}))
        server.kill()
        search.check_tree(where.directory, but=frozenset({"passphrase"}))
        # A wrong passphrase is no reason to show the right one, or itself.
        where.passphrase_file.write_text("a wrong one: xkvzqwjp")
        wrong = where.run("status")
        assert wrong.status == 1
        for done in (*outputs, wrong):
            for output in (done.stdout, done.stderr):
                search.check("output of a command", output)
                assert b"xkvzqwjp" not in output
                assert token.encode() not in output
        for log in where.logs.iterdir():
            assert token.encode() not in log.read_bytes()
        search.check_tree(where.directory, but=frozenset({"passphrase"}))
    names = set(secrets.values())
    # Without these the test has watched the wrong place.
    for name in ("MasterKey", "EpochKey", "ClientKey", "JournalKey", "BootKey"):
        assert name in names, names
    assert PASSPHRASE.encode() in secrets


async def test_secrets_do_not_print() -> None:
    """Neither repr, str, format nor an error's text shows a secret's bytes."""
    raw = bytes(range(32))
    search = Search({"secret": list(bytes_needles("secret", raw))})
    checked = 0
    for kind in secret_kinds():
        with contextlib.suppress(Exception):
            made = kind(raw)
            for shown in (repr(made), str(made), f"{made}", f"{made!r:>80}"):
                search.check(kind.__name__, shown.encode())
                checked += 1
    assert checked
