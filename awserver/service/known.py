"""Account documents as the service uses them: read once, then kept in memory.

A version never changes, so what was read of it holds for ever. Whether it is still
the newest is asked of the store, inside the transaction that depends on it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from awserver.documents import ClientEntry, SignedDocument
from awserver.errors import (
    ClientRevokedError,
    ClientUnknownError,
    DocumentInvalidError,
    SessionInvalidError,
    StorageCorruptError,
    SuiteUnknownError,
)
from awserver.records import ID_BYTES, AccountId, ClientId, RecordHash, Seq
from awserver.storage.base import LogStore

KNOWN_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of the documents that are kept; in memory they take several times that."""


_NOBODY: Final = (AccountId(bytes(ID_BYTES)), 0)

READ_HERE_BYTES_MAX: Final = 64 * 1024
"""Of a document that is read on the event loop: some 200 clients, 5 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDocument:
    """A version of an account document, with what is looked up in it."""

    data: bytes
    signed: SignedDocument
    clients: Mapping[ClientId, ClientEntry]
    places: Mapping[tuple[ClientId, Seq], RecordHash]
    """Records whose hash the document names: heads, and ends of clients."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read a document; raises `DocumentInvalidError`, `SuiteUnknownError`."""
        signed = SignedDocument.decode(data)
        document = signed.document
        clients = {client.client_id: client for client in document.clients}
        places = {(client, head.seq): head.hash for client, head in document.heads}
        for client, entry in clients.items():
            if entry.final is not None:
                places[client, entry.final.seq] = entry.final.hash
        return cls(data=data, signed=signed, clients=clients, places=places)

    @property
    def version(self) -> int:
        """Its version."""
        return self.signed.document.version

    def active_client(self, client: ClientId) -> ClientEntry | None:
        """Return a client that the owner admitted and has not revoked."""
        entry = self.clients.get(client)
        return None if entry is None or entry.revoked else entry

    def client_up_to(self, client: ClientId, seq: Seq) -> ClientEntry:
        """Return a client that may have a record at this seq.

        Raises `ClientUnknownError`, and `ClientRevokedError` beyond its end.
        """
        entry = self.clients.get(client)
        if entry is None:
            raise ClientUnknownError(
                f"the account document names no client {client.hex()[:8]}"
            )
        if entry.revoked and (entry.final is None or seq > entry.final.seq):
            raise ClientRevokedError(
                f"client {entry.number} was revoked, and record {seq} is beyond its end"
            )
        return entry


class KnownDocuments:
    """The documents that were used lately, by account and version."""

    def __init__(self, store: LogStore) -> None:
        """Read from `store` what is not in memory."""
        self._store = store
        self._known: OrderedDict[tuple[AccountId, int], KnownDocument] = OrderedDict()
        self._bytes = 0
        self._nobody: OrderedDict[tuple[AccountId, int], None] = OrderedDict()
        self._nobody[_NOBODY] = None

    async def at(self, account: AccountId, version: int) -> KnownDocument:
        """Return a version that the store has said is there.

        Raises `SessionInvalidError` where the account was deleted meanwhile.
        """
        key = (account, version)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        documents = await self._store.documents(account, start_version=version)
        if not documents:
            raise SessionInvalidError
        try:
            # A large one takes long to read: not on the event loop.
            known = (
                KnownDocument.read(documents[0])
                if len(documents[0]) <= READ_HERE_BYTES_MAX
                else await asyncio.to_thread(KnownDocument.read, documents[0])
            )
        except (DocumentInvalidError, SuiteUnknownError) as error:
            raise _damaged(version, error) from error
        if (known.signed.document.account_id, known.version) != key:
            raise _damaged(version, "another lies in its place")
        self._keep(key, known)
        return known

    def forget(self, account: AccountId) -> None:
        """Forget an account that was deleted: its versions may come to be others."""
        for key in [key for key in self._known if key[0] == account]:
            self._bytes -= len(self._known.pop(key).data)

    async def nobody(self) -> None:
        """Do as much as `at` does for what is in memory, and find nothing."""
        found = self._nobody.get(_NOBODY)
        self._nobody.move_to_end(_NOBODY)
        return found

    def _keep(self, key: tuple[AccountId, int], known: KnownDocument) -> None:
        if key in self._known:  # two asked at once
            return
        self._known[key] = known
        self._bytes += len(known.data)
        while self._bytes > KNOWN_BYTES_MAX and len(self._known) > 1:
            _, forgotten = self._known.popitem(last=False)
            self._bytes -= len(forgotten.data)


def _damaged(version: int, reason: Exception | str) -> StorageCorruptError:
    return StorageCorruptError(
        f"version {version} of an account document is damaged: {reason}; restore the"
        " database from a backup, and keep this file"
    )
