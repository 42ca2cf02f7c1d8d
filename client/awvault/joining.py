"""A vault for a client that was added to an account.

A machine that joins an account gets a database of its own, with the account's
documents and the keystore of its client. Nothing here knows a network.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from awserver.records import AccountId, ClientId
from awserver.storage.sqlite.database import Database, Probe, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.errors import DocumentError
from awvault.protocol.account import VerifiedAccount, verify_documents
from awvault.protocol.document import hash_document, hash_keys_blob


async def make_vault(
    path: Path,
    *,
    account_id: AccountId,
    client_id: ClientId,
    documents: Sequence[bytes],
    keys_blob: bytes,
    keystore: bytes,
    probe: Probe | None = None,
) -> None:
    """Make the database of a client that the newest of `documents` names.

    `documents` is the whole chain, `keys_blob` the newest one's, and `keystore`
    the client's, sealed (`edits.new_keystore`). It is on disk when this returns,
    and `opening.open_vault` opens it with the account's passphrase. Raises
    FileExistsError, and an `IntegrityError` for documents that break a rule.
    """
    account = await asyncio.to_thread(verify_documents, account_id, documents)
    _check_named(account, client_id, keys_blob)
    database = await asyncio.to_thread(Database.open, path, create=True, probe=probe)
    try:
        await asyncio.to_thread(tables.prepare, database)

        def work(tx: Transaction) -> None:
            for version, document in enumerate(documents, start=1):
                SqliteLogStore.put_document_within(
                    tx,
                    account_id,
                    version=version,
                    document=document,
                    document_hash=hash_document(document),
                    keys_blob=keys_blob if version == len(documents) else None,
                )
            tables.put_vault_row(
                tx,
                tables.VaultRow(
                    account_id=account_id,
                    client_id=client_id,
                    keystore=keystore,
                    unlock_version=len(documents),
                    unlock_blob=keys_blob,
                ),
            )

        await database.write(work)
    finally:
        await database.close()


def _check_named(
    account: VerifiedAccount, client_id: ClientId, keys_blob: bytes
) -> None:
    """Raise `DocumentError` unless the account names the client and the blob."""
    if client_id not in account.clients:
        raise DocumentError("the account document does not name this client")
    if hash_keys_blob(keys_blob) != account.document.keys_blob_hash:
        raise DocumentError("the keys blob is not the one that the document names")
