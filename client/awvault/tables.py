"""The vault's own tables, and the only SQL of this package.

They live on the same `Database` as the log store, so that one transaction can
insert a record, its index row, and remove the journal rows it replaces. But for
`opened`, every function here is synchronous and takes the connection of a
transaction that the caller holds. Nothing here knows a key: blobs come sealed and
leave sealed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from awserver.records import AccountId, ClientId, Seq
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.database import Database, Probe, Transaction

COMPONENT: Final = "vault"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultRow:
    """Which account and client this data directory belongs to."""

    account_id: AccountId
    client_id: ClientId
    keystore: bytes
    unlock_version: int | None
    """The version of the account document whose passphrase is known here."""
    unlock_blob: bytes | None
    """The keys blob of that version; both are None in a vault from before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedJournalRow:
    """One row of the sealed tail; `write` counts the writes of its boot."""

    jid: int
    boot: int
    write: int
    sealed: bytes


def prepare(database: Database) -> None:
    """Bring all tables of a vault to this program's version, and check them.

    Raises `StorageCorruptError` if the file has a trigger or a table that is
    not of this program.
    """
    logs.migrate(database)
    database.migrate(COMPONENT, files("awvault") / "migrations")
    database.check_schema(
        {
            logs.COMPONENT: logs.migrations(),
            COMPONENT: files("awvault") / "migrations",
        }
    )


@contextlib.asynccontextmanager
async def opened(
    path: Path, *, create: bool, probe: Probe | None = None
) -> AsyncIterator[Database]:
    """Give the database of a vault, its tables prepared; no key is needed."""
    database = await asyncio.to_thread(Database.open, path, create=create, probe=probe)
    try:
        await asyncio.to_thread(prepare, database)
        yield database
    finally:
        await database.close()


def vault_row(tx: Transaction) -> VaultRow | None:
    """Return the vault's one row, or None where no vault was made yet."""
    for account_id, client_id, keystore, version, blob in tx.execute(
        "SELECT account_id, client_id, keystore, unlock_version, unlock_blob FROM vault"
    ):
        return VaultRow(
            account_id=AccountId(account_id),
            client_id=ClientId(client_id),
            keystore=keystore,
            unlock_version=version,
            unlock_blob=blob,
        )
    return None


def put_vault_row(tx: Transaction, row: VaultRow) -> None:
    """Write the vault's one row; it replaces the one before."""
    tx.execute(
        "INSERT INTO vault (one, account_id, client_id, keystore, unlock_version,"
        " unlock_blob) VALUES (1, ?, ?, ?, ?, ?)"
        " ON CONFLICT (one) DO UPDATE SET account_id = excluded.account_id,"
        " client_id = excluded.client_id, keystore = excluded.keystore,"
        " unlock_version = excluded.unlock_version,"
        " unlock_blob = excluded.unlock_blob",
        (
            row.account_id,
            row.client_id,
            row.keystore,
            row.unlock_version,
            row.unlock_blob,
        ),
    )


def remote_row(tx: Transaction) -> bytes | None:
    """Return the sealed notes on the remote host, or None where there is none."""
    for (sealed,) in tx.execute("SELECT sealed FROM remote"):
        return bytes(sealed)
    return None


def put_remote_row(tx: Transaction, sealed: bytes) -> None:
    """Write the notes on the remote host; they replace those before."""
    tx.execute(
        "INSERT INTO remote (one, sealed) VALUES (1, ?)"
        " ON CONFLICT (one) DO UPDATE SET sealed = excluded.sealed",
        (sealed,),
    )


def delete_remote_row(tx: Transaction) -> None:
    """Delete the notes on the remote host."""
    tx.execute("DELETE FROM remote")


def begin_boot(tx: Transaction, random: bytes) -> int:
    """Give this start of the program a number, and forget starts without rows."""
    tx.execute("DELETE FROM boots WHERE boot NOT IN (SELECT boot FROM journal)")
    # Never a number that a row still in the file could name.
    boot = int(tx.execute("SELECT coalesce(max(boot), 0) + 1 FROM boots").get)
    tx.execute("INSERT INTO boots (boot, random) VALUES (?, ?)", (boot, random))
    return boot


def boots(tx: Transaction) -> dict[int, bytes]:
    """Return the random bytes of every start that may have journal rows."""
    return dict(tx.execute("SELECT boot, random FROM boots"))


def put_journal_row(tx: Transaction, row: SealedJournalRow) -> None:
    """Write a journal row; an open event's row replaces itself."""
    tx.execute(
        "INSERT INTO journal (jid, boot, write, sealed) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (jid) DO UPDATE SET boot = excluded.boot,"
        " write = excluded.write, sealed = excluded.sealed",
        (row.jid, row.boot, row.write, row.sealed),
    )


def journal_rows(tx: Transaction) -> list[SealedJournalRow]:
    """Return every journal row, oldest first."""
    return [
        SealedJournalRow(jid=jid, boot=boot, write=write, sealed=sealed)
        for jid, boot, write, sealed in tx.execute(
            "SELECT jid, boot, write, sealed FROM journal ORDER BY jid"
        )
    ]


def delete_journal_rows(tx: Transaction, jids: Iterable[int]) -> None:
    """Remove the rows that a record now holds."""
    tx.executemany("DELETE FROM journal WHERE jid = ?", [(jid,) for jid in jids])


def put_index_row(
    tx: Transaction, client_id: ClientId, seq: Seq, sealed: bytes
) -> None:
    """Write a record's index row; a rebuilt one replaces the one before."""
    tx.execute(
        "INSERT INTO index_rows (client_id, seq, sealed) VALUES (?, ?, ?)"
        " ON CONFLICT (client_id, seq) DO UPDATE SET sealed = excluded.sealed",
        (client_id, seq, sealed),
    )


def index_rows(tx: Transaction) -> dict[tuple[ClientId, Seq], bytes]:
    """Return every sealed index row by (client, seq)."""
    return {
        (ClientId(client_id), Seq(seq)): sealed
        for client_id, seq, sealed in tx.execute(
            "SELECT client_id, seq, sealed FROM index_rows"
        )
    }
