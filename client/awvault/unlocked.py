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
from awvault.crypto.slots import Ring
from awvault.errors import DocumentError, EpochError, SealError
from awvault.journal import EventRow, decode_row
from awvault.protocol.account import Keystore, Pin, VerifiedAccount, seal_keystore
from awvault.protocol.document import ClientEntry
from awvault.tables import SealedJournalRow, VaultRow


def payload_of(padded: bytes) -> Payload:
    """Return what a record's padded plaintext says; raises `PayloadError`."""
    return decode_payload(unpack(unpad(padded)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlock:
    """What the passphrase that is known here opens."""

    version: int
    """The version of the account document that has its salt."""
    keys_blob: bytes
    login_public: bytes
    """The login key of that version: another one is of another passphrase."""

    @classmethod
    def of(cls, account: VerifiedAccount, keys_blob: bytes) -> Self:
        """Return what the passphrase opens that was proved on this version."""
        document = account.document
        return cls(
            version=document.version,
            keys_blob=keys_blob,
            login_public=document.login_public,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is believed of the account at one moment; it is replaced as one."""

    account: VerifiedAccount
    ring: Ring
    client_numbers: Mapping[ClientId, int]
    """Every client's number, this one's included."""
    awaiting: VerifiedAccount | None
    """The chain that leads on into an epoch whose secret was not typed here."""
    unlock: Unlock | None
    """None: the account's newest."""

    @classmethod
    def of(
        cls,
        account: VerifiedAccount,
        ring: Ring,
        *,
        awaiting: VerifiedAccount | None = None,
        unlock: Unlock | None = None,
    ) -> Self:
        """Return what follows from a chain of documents and its epoch keys."""
        return cls(
            account=account,
            ring=ring,
            client_numbers={
                client_id: entry.number for client_id, entry in account.clients.items()
            },
            awaiting=awaiting,
            unlock=unlock,
        )

    @property
    def known(self) -> VerifiedAccount:
        """The whole chain that was verified, of later epochs too."""
        return self.account if self.awaiting is None else self.awaiting

    @property
    def passphrase_changed(self) -> bool:
        """Whether the account has another passphrase than the one known here."""
        return (
            self.unlock is not None
            and self.unlock.login_public != self.known.document.login_public
        )


class Unlocked:
    """One client of one account, with its keys.

    The client's own keys stay as they are while the vault is open. What is
    believed of the account is replaced when a later document is adopted: who
    needs several parts of it takes `standing` once. Safe to read from any thread.
    """

    __slots__ = (
        "account_id",
        "client_id",
        "client_key",
        "client_number",
        "index_key",
        "journal_key",
        "standing",
    )

    def __init__(self, standing: Standing, keystore: Keystore) -> None:
        """Hold the keys of one client of a verified account.

        Raises `DocumentError` if the document does not name this client.
        """
        account = standing.account
        client_id = client_id_of(keystore.client_key.public)
        entry = account.clients.get(client_id)
        if entry is None or entry.number != keystore.client_number:
            raise DocumentError("the account document does not name this client")
        self.standing = standing
        self.account_id: AccountId = account.document.account_id
        self.client_id: ClientId = client_id
        self.client_number: int = entry.number
        self.client_key: ClientKey = keystore.client_key
        self.journal_key: JournalKey = keystore.journal_key
        self.index_key: IndexKey = derive_index_key(keystore.journal_key)

    @classmethod
    def of(cls, account: VerifiedAccount, ring: Ring, keystore: Keystore) -> Self:
        """Return the keys of one client of a verified account, in its last epoch."""
        return cls(Standing.of(account, ring), keystore)

    def adopt(self, standing: Standing) -> None:
        """Believe a later state of the account, which is on disk already."""
        before, after = self.account.hashes, standing.account.hashes
        if after[: len(before)] != before:
            raise ValueError("the chain of documents does not go on from this one")
        self.standing = standing

    @property
    def account(self) -> VerifiedAccount:
        """The chain of documents that is believed."""
        return self.standing.account

    @property
    def clients(self) -> Mapping[ClientId, ClientEntry]:
        """Every client that the account document names, this one included."""
        return self.standing.account.clients

    @property
    def client_numbers(self) -> Mapping[ClientId, int]:
        """Every client's number, this one's included."""
        return self.standing.client_numbers

    @property
    def ring(self) -> Ring:
        """The epoch keys, from the first."""
        return self.standing.ring

    @property
    def epoch(self) -> int:
        """The epoch that new records are sealed in."""
        return self.standing.account.document.epoch

    @property
    def pin(self) -> Pin:
        """(version, hash) of the newest account document that was verified."""
        return self.standing.account.pin

    @property
    def epoch_key(self) -> EpochKey:
        """The key that new records are sealed under."""
        return self.ring[self.epoch]

    @property
    def may_seal(self) -> bool:
        """Whether this client's records count: it is not revoked, nor left behind.

        What is sealed under an epoch that was replaced could be read by the
        client for whose sake it was replaced.
        """
        standing = self.standing
        revoked = standing.account.clients[self.client_id].revoked
        return standing.awaiting is None and not revoked

    def vault_row(self, standing: Standing, random: Random) -> VaultRow:
        """Return the vault's row as it is with `standing`, its keystore sealed."""
        unlock = standing.unlock
        keystore = Keystore(
            client_number=self.client_number,
            client_key=self.client_key,
            journal_key=self.journal_key,
            pin=standing.account.pin,
            ring=standing.ring,
        )
        return VaultRow(
            account_id=self.account_id,
            client_id=self.client_id,
            keystore=seal_keystore(
                self.account_id,
                keystore,
                epoch=standing.account.document.epoch,
                random=random,
            ),
            unlock_version=None if unlock is None else unlock.version,
            unlock_blob=None if unlock is None else unlock.keys_blob,
        )

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
        return payload_of(open_record(key, record))

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
