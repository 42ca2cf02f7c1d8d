"""The keys of an unlocked vault, and what they seal and open.

Made by `opening` from the passphrase and the account document; lives as long
as the vault is open. The master key is not in here: it is needed only while
unlocking, and while the account document changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from awserver.records import (
    AccountId,
    ClientId,
    RecordHash,
    SealedRecord,
    client_id_of,
)
from awvault.columns.compress import unpack
from awvault.columns.payload import BucketVersion, Payload, decode_payload
from awvault.columns.table import EventTable
from awvault.columns.zones import IndexRow, decode_index_row, encode_index_row
from awvault.crypto.envelope import open_record
from awvault.crypto.keys import (
    BootKey,
    ClientKey,
    EpochKey,
    IndexKey,
    JournalKey,
    Random,
    derive_boot_key,
    derive_index_key,
)
from awvault.crypto.padding import unpad
from awvault.crypto.rows import open_row, seal_row
from awvault.errors import DocumentError, EpochError, SealError
from awvault.journal import EventRow, decode_row
from awvault.protocol.account import Keystore, VerifiedAccount
from awvault.protocol.document import ClientEntry
from awvault.tables import SealedJournalRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """One client of one account, with its keys."""

    account_id: AccountId
    client_id: ClientId
    client_number: int
    clients: Mapping[ClientId, ClientEntry]
    """Every client that the account document names, this one included."""
    epoch: int
    ring: Mapping[int, EpochKey]
    client_key: ClientKey
    journal_key: JournalKey
    index_key: IndexKey
    pin: tuple[int, bytes]
    """(version, hash) of the newest account document that was verified."""

    @classmethod
    def of(
        cls, account: VerifiedAccount, ring: Mapping[int, EpochKey], keystore: Keystore
    ) -> Self:
        """Return the keys of one client of a verified account.

        Raises `DocumentError` if the document does not name this client.
        """
        document = account.document
        client_id = client_id_of(keystore.client_key.public)
        entry = document.client(client_id)
        if entry is None or entry.number != keystore.client_number:
            raise DocumentError("the account document does not name this client")
        return cls(
            account_id=document.account_id,
            client_id=client_id,
            client_number=entry.number,
            clients={client.client_id: client for client in document.clients},
            epoch=document.epoch,
            ring=ring,
            client_key=keystore.client_key,
            journal_key=keystore.journal_key,
            index_key=derive_index_key(keystore.journal_key),
            pin=account.pin,
        )

    @property
    def client_numbers(self) -> Mapping[ClientId, int]:
        """Every client's number, this one's included."""
        return {client_id: entry.number for client_id, entry in self.clients.items()}

    @property
    def epoch_key(self) -> EpochKey:
        """The key that new records are sealed under."""
        return self.ring[self.epoch]

    def open_payload(self, record: SealedRecord) -> Payload:
        """Authenticate a record's body and return what it holds.

        Raises `EpochError` or `SealError` where the record is not what its
        client sealed, `PayloadError` where a faulty client sealed nonsense.
        """
        key = self.ring.get(record.header.epoch)
        if key is None:
            raise EpochError(
                f"record {record.header.seq} names epoch {record.header.epoch},"
                f" the newest of this account is {self.epoch}"
            )
        return decode_payload(unpack(unpad(open_record(key, record))))

    def seal_index_row(
        self, record_hash: RecordHash, row: IndexRow, random: Random
    ) -> bytes:
        """Seal an index row; it opens only beside the record it was made from."""
        return seal_row(self.index_key, record_hash, encode_index_row(row), random)

    def open_index_row(self, record_hash: RecordHash, sealed: bytes) -> IndexRow:
        """Open an index row; raises `SealError` or `PayloadError`."""
        return decode_index_row(open_row(self.index_key, record_hash, sealed))

    def boot_key(self, boot_random: bytes) -> BootKey:
        """Return the key of the journal rows of one start of the program."""
        return derive_boot_key(self.journal_key, boot_random)

    def seal_journal_row(
        self,
        key: BootKey,
        *,
        jid: int,
        boot: int,
        write: int,
        plaintext: bytes,
        random: Random,
    ) -> SealedJournalRow:
        """Seal a journal row under the key of this start."""
        context = self._row_context(jid, write)
        return SealedJournalRow(
            jid=jid,
            boot=boot,
            write=write,
            sealed=seal_row(key, context, plaintext, random),
        )

    def open_journal_row(
        self, row: SealedJournalRow, boots: Mapping[int, bytes]
    ) -> BucketVersion | EventRow | list[tuple[int, EventTable]]:
        """Open a journal row; raises `SealError` or `PayloadError`."""
        boot_random = boots.get(row.boot)
        if boot_random is None:
            raise SealError(
                f"journal row {row.jid} names start {row.boot}, which is not in"
                " the database"
            )
        if row.jid < 0 or row.write < 0:
            # No vault gives such numbers, and no context has a place for them.
            raise SealError(
                f"journal row {row.jid} has write number {row.write}: both are counted"
                " from 0 upwards"
            )
        context = self._row_context(row.jid, row.write)
        return decode_row(open_row(self.boot_key(boot_random), context, row.sealed))

    def _row_context(self, jid: int, write: int) -> bytes:
        return self.client_id + jid.to_bytes(8, "little") + write.to_bytes(8, "little")
