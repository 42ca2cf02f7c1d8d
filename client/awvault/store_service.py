"""The operations that need no key: what the store itself tells.

`host_view` reads the log store's own tables and nothing else, so what it prints
is what any host of the same records would know.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from awserver.records import (
    HEADER_BYTES,
    SIGNATURE_BYTES,
    AccountId,
    ClientId,
    Head,
    Seq,
)
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.protocol.document import decode_document
from awvault.service import (
    Check,
    ClientUsage,
    DoctorResult,
    HostAccountView,
    HostClientKey,
    HostClientView,
    HostRecordSize,
    HostView,
    UsageResult,
    bytes_text,
    counted,
)

READ_BYTES: Final = 4 * 1024 * 1024
"""Records are looked at in pages of this size."""
_FRAME_BYTES: Final = HEADER_BYTES + SIGNATURE_BYTES
JOURNAL_BYTES_WARN: Final = 16 * 1024 * 1024
"""Far more than waits for a record when sealing works."""


class DatabaseService:
    """A `StoreService` on a database that this process has open."""

    def __init__(self, database: Database) -> None:
        """Answer from `database`, which somebody else closes."""
        self._database = database
        self._store = SqliteLogStore(database)

    async def usage(self) -> UsageResult:
        """See `StoreService.usage`."""
        clients: list[ClientUsage] = []
        documents = records = stored_bytes = 0
        for account in await self._store.accounts():
            usage = await self._store.usage(account)
            records += usage.entries
            stored_bytes += usage.stored_bytes
            documents += len(await self._store.documents(account))
            overview = await self._store.overview(account)
            clients += [
                ClientUsage(
                    client_id=client.hex(),
                    records=log.entries,
                    stored_bytes=log.stored_bytes,
                )
                for client, log in sorted(overview.logs.items())
            ]
        journal, index = await asyncio.to_thread(self._own_rows)
        path = self._database.path
        files = (path, path.with_name(path.name + "-wal"))
        return UsageResult(
            records=records,
            stored_bytes=stored_bytes,
            documents=documents,
            journal_rows=len(journal),
            journal_bytes=sum(journal),
            index_rows=len(index),
            index_bytes=sum(index),
            file_bytes=sum(file.stat().st_size for file in files if file.exists()),
            free_bytes=shutil.disk_usage(path.parent).free,
            clients=clients,
        )

    async def host_view(self) -> HostView:
        """See `StoreService.host_view`."""
        return HostView(
            accounts=[
                await self._account(account) for account in await self._store.accounts()
            ]
        )

    async def doctor(self) -> DoctorResult:
        """See `StoreService.doctor`."""
        journal, _ = await asyncio.to_thread(self._own_rows)
        waiting = Check(
            name="journal",
            outcome="ok",
            detail=f"waiting to be sealed: {counted(len(journal), 'row')},"
            f" {bytes_text(sum(journal))}",
        )
        if sum(journal) > JOURNAL_BYTES_WARN:
            waiting = Check(
                name="journal",
                outcome="warn",
                detail=f"{sum(journal)} bytes wait to be sealed,"
                f" more than {JOURNAL_BYTES_WARN}",
                hint="nothing is lost; the log of aw-server says why sealing fails",
            )
        return DoctorResult(
            checks=[
                Check(
                    name="database",
                    outcome="ok",
                    detail=f"opens, by apsw {version('apsw')}; its schema is known",
                ),
                waiting,
            ]
        )

    async def _account(self, account: AccountId) -> HostAccountView:
        usage = await self._store.usage(account)
        heads = await self._store.heads(account)
        return account_view(
            account,
            documents=await self._store.documents(account),
            keys_blob=await self._store.keys_blob(account) or b"",
            entries=usage.entries,
            stored_bytes=usage.stored_bytes,
            clients=[
                await self._client(account, client, head)
                for client, head in sorted(heads.items())
            ],
        )

    async def _client(
        self, account: AccountId, client: ClientId, head: Head
    ) -> HostClientView:
        sizes: Counter[int] = Counter()
        start = 0
        while start <= head.seq:
            page = await self._store.read(
                account, client, start=Seq(start), bytes_max=READ_BYTES, bodies=False
            )
            if not page:
                break
            for record in page:
                sizes[_FRAME_BYTES + record.header.body_bytes] += 1
            start = page[-1].header.seq + 1
        return HostClientView(
            client_id=client.hex(),
            records=sizes.total(),
            stored_bytes=sum(size * count for size, count in sizes.items()),
            head_seq=head.seq,
            head_hash=head.hash.hex(),
            sizes=[
                HostRecordSize(stored_bytes=size, records=count)
                for size, count in sorted(sizes.items())
            ],
        )

    def _own_rows(self) -> tuple[list[int], list[int]]:
        """Return the sizes of the journal's and of the index's rows."""
        with self._database.reading() as tx:
            return (
                [len(row.sealed) for row in tables.journal_rows(tx)],
                [len(sealed) for sealed in tables.index_rows(tx).values()],
            )


def account_view(
    account_id: AccountId,
    *,
    documents: Sequence[bytes],
    keys_blob: bytes,
    entries: int,
    stored_bytes: int,
    clients: list[HostClientView],
) -> HostAccountView:
    """Return an account as a host knows it; `documents` are all of its versions."""
    newest = decode_document(documents[-1]).document if documents else None
    return HostAccountView(
        account_id=account_id.hex(),
        username="" if newest is None else newest.username,
        entries=entries,
        stored_bytes=stored_bytes,
        document_versions=len(documents),
        document_bytes=sum(len(document) for document in documents),
        keys_blob_bytes=len(keys_blob),
        epoch=0 if newest is None else newest.epoch,
        salt="" if newest is None else newest.salt.hex(),
        login_public="" if newest is None else newest.login_public.hex(),
        recovery_login_public=(
            "" if newest is None else newest.recovery_login_public.hex()
        ),
        signing_public="" if newest is None else newest.signing_public.hex(),
        client_keys=[
            HostClientKey(
                client_id=client.client_id.hex(),
                number=client.number,
                public_key=client.public.hex(),
            )
            for client in (() if newest is None else newest.clients)
        ],
        clients=clients,
    )
