"""T02: the host's store holds nothing but what is on this list.

A new table, column, file or field is a new thing that a host learns. Whoever
adds one adds it here, with what it tells.
"""

import json
import random
from pathlib import Path

import apsw
import pytest

from awvault.testing import open_vault
from tests.helpers.processes import Root, home
from tests.helpers.vaults import A, B, beat, bucket, correct, insert

# What each column tells whoever reads the database.
COLUMNS = {
    "schema_migrations": {"component": "fixed names", "number": "program version"},
    # -- the host's: what a host of these records would store
    "records": {
        "account_id": "which account",
        "client_id": "which client",
        "seq": "how many entries",
        "hash": "derived from header and signature",
        "header": "account, client, epoch, seq, previous hash, salt, length, body hash",
        "signature": "nothing more",
    },
    "bodies": {
        "account_id": "which account",
        "client_id": "which client",
        "seq": "how many entries",
        "body": "a padded size; ciphertext",
    },
    "erasures": {
        "account_id": "which account",
        "client_id": "which client",
        "from_seq": "what its owner erased",
        "to_seq": "what its owner erased",
    },
    "documents": {
        "account_id": "which account",
        "version": "how often the account changed",
        "hash": "derived from document",
        "document": "username, clients, epochs, public keys",
    },
    "keys_blobs": {"account_id": "which account", "blob": "wrapped keys"},
    "usage": {
        "account_id": "which account",
        "entries": "how many entries",
        "bytes": "how many bytes",
    },
    "accounts": {
        "account_id": "which account",
        "standing": "whether whoever runs the host serves it",
        "quota_bytes": "what whoever runs the host lets it store",
    },
    "usernames": {"username": "username", "account_id": "which account"},
    "sessions": {
        "account_id": "which account",
        "token_hash": "nothing: a hash of random bytes",
        "client_id": "which client",
        "created_hour": "when, to the hour, somebody logged in",
        "seen_hour": "when, to the hour, that session was used last",
    },
    "used_nonces": {
        "account_id": "which account",
        "nonce": "when somebody proved a key; forgotten within minutes",
    },
    "invites": {
        "code_hash": "nothing: a hash of random bytes",
        "expires_hour": "when, to the hour, whoever runs the host invited somebody",
    },
    "host_secret": {"one": "always 1", "secret": "nothing: random bytes"},
    "log_usage": {
        "account_id": "which account",
        "client_id": "which client",
        "bytes": "how many bytes",
    },
    "deletions": {"account_id": "which account is just being deleted"},
    # -- the vault's own: on this machine only
    "vault": {
        "one": "always 1",
        "account_id": "which account",
        "client_id": "which client",
        "keystore": "ciphertext",
        "unlock_version": "since which version this passphrase is known here",
        "unlock_blob": "wrapped keys",
    },
    "boots": {"boot": "how many starts", "random": "nothing"},
    "journal": {
        "jid": "how many rows wait",
        "boot": "which start wrote it",
        "write": "how many writes of that start came before",
        "sealed": "a size; ciphertext",
    },
    "index_rows": {
        "client_id": "which client",
        "seq": "which record",
        "sealed": "a size; ciphertext",
    },
    "remote": {"one": "always 1", "sealed": "a size; ciphertext"},
}

CONTROL_FIELDS = {"pid", "port", "token", "started"}

HOST_VIEW_FIELDS = {
    "accounts": {
        "account_id",
        "username",
        "entries",
        "stored_bytes",
        "document_versions",
        "document_bytes",
        "keys_blob_bytes",
        "epoch",
        "salt",
        "login_public",
        "recovery_login_public",
        "signing_public",
        "client_keys",
        "clients",
    },
    "client_keys": {"client_id", "number", "public_key"},
    "clients": {
        "client_id",
        "records",
        "stored_bytes",
        "head_seq",
        "head_hash",
        "sizes",
    },
    "sizes": {"stored_bytes", "records"},
}


async def _busy_vault(directory: Path) -> None:
    """Fill every table that anything is ever put into."""
    async with await open_vault(directory) as vault:
        await bucket(vault)
        numbers = await insert(vault, (0, 1, A), (1, 1, B))
        await correct(vault, numbers[0], 5, 1, B)
        await vault.seal_now()
        await vault.delete_event("b", numbers[1])
        await beat(vault, 10)


async def test_every_column_is_on_the_list(tmp_path: Path) -> None:
    """Tables and columns of the file, and of the list, are the same."""
    await _busy_vault(tmp_path / "v")
    database = apsw.Connection(str(tmp_path / "v" / "vault.db"))
    found: dict[str, set[str]] = {}
    for table, column in database.execute(
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c"
        " WHERE t.type IN ('table', 'view')"
    ):
        found.setdefault(table, set()).add(column)
    assert found == {name: set(columns) for name, columns in COLUMNS.items()}


async def test_no_column_holds_a_time(tmp_path: Path) -> None:
    """Numbers in the database are small counts: none can be a time or a float."""
    await _busy_vault(tmp_path / "v")
    database = apsw.Connection(str(tmp_path / "v" / "vault.db"))
    numbers = 0
    for name, columns in COLUMNS.items():
        for row in database.execute(f"SELECT {', '.join(columns)} FROM {name}"):
            for column, value in zip(columns, row, strict=True):
                assert not isinstance(value, float), (name, column)
                if isinstance(value, int):
                    numbers += 1
                    assert value < 100_000, (name, column, value)
                if isinstance(value, str):
                    assert (name, column) == ("schema_migrations", "component")
    assert numbers > 5


async def test_sealed_columns_are_of_declared_sizes(tmp_path: Path) -> None:
    """A row's size says how many blocks of padding it has, not how long a title is."""
    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        for length in range(1, 60):
            await beat(vault, length * 100, 0, b'{"t":"%s"}' % (b"x" * length))
    database = apsw.Connection(str(tmp_path / "v" / "vault.db"))
    rows = database.execute("SELECT sealed FROM journal")
    sizes = {len(sealed) for (sealed,) in rows}
    assert len(sizes) <= 4, sizes


@pytest.mark.parametrize("name", ["records", "bodies"])
async def test_bodies_are_of_padded_sizes(tmp_path: Path, name: str) -> None:
    """Records of longer or shorter titles have the same size."""
    lengths = set()
    digits = random.Random(17).randbytes(100).hex()
    for count in range(0, 60, 7):
        directory = tmp_path / str(count)
        title = b'{"title":"%s"}' % digits[:count].encode()
        async with await open_vault(directory) as vault:
            await bucket(vault)
            await insert(vault, (0, 1, A), (1, 1, title))
            await vault.seal_now()
        database = apsw.Connection(str(directory / "vault.db"))
        column = "header" if name == "records" else "body"
        lengths |= {
            len(value) for (value,) in database.execute(f"SELECT {column} FROM {name}")
        }
    assert len(lengths) == 1, lengths


def test_the_control_file_and_host_view_show_no_more(tmp_path: Path) -> None:
    """The fields of control.json and of `awvault host-view --json`."""
    with home(tmp_path, root=Root.FORKED) as where:
        server = where.serve()
        control = json.loads((where.data_dir / "control.json").read_text())
        assert set(control) <= CONTROL_FIELDS
        assert (where.data_dir / "control.json").stat().st_mode & 0o777 == 0o600
        assert where.run("add", "notes", '{"a":1}', "--type", "note").status == 0
        done = where.run("host-view", "--json")
        assert done.status == 0
        view = json.loads(done.stdout)
        assert set(view) == {"accounts", "host", "quota_bytes", "sessions"}
        assert (view["host"], view["quota_bytes"], view["sessions"]) == (None, None, [])
        (account,) = view["accounts"]
        assert set(account) == HOST_VIEW_FIELDS["accounts"]
        assert account["client_keys"]
        for key in account["client_keys"]:
            assert set(key) == HOST_VIEW_FIELDS["client_keys"]
        for client in account["clients"]:
            assert set(client) == HOST_VIEW_FIELDS["clients"]
            for size in client["sizes"]:
                assert set(size) == HOST_VIEW_FIELDS["sizes"]
        assert server.terminate()[0] == 0
