"""The prefix of a log that is believed.

The rules of acceptance are numbered in docs/protocol/logs.md; the comments here
name them. A record is accepted whole or not at all, and on any error what was
believed before stays as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from awserver.errors import MalformedRecordError
from awserver.records import (
    ZERO_HASH,
    AccountId,
    ClientId,
    Head,
    Header,
    RecordHash,
    SealedRecord,
    Seq,
    hash_body,
)
from awvault.crypto.envelope import open_record, verify_record
from awvault.crypto.keys import EpochKey
from awvault.errors import (
    BodyMissingError,
    ChainError,
    EpochError,
    GapError,
    MalformedError,
    RevokedError,
    RollbackError,
    WrongPlaceError,
)
from awvault.protocol.account import VerifiedAccount
from awvault.protocol.document import Erasure


@dataclass(slots=True, kw_only=True)
class VerifiedLog:
    """One client's log, as far as it was verified."""

    account_id: AccountId
    client_id: ClientId
    client_public: bytes
    ring: Mapping[int, EpochKey]
    revoked: bool = False
    final: Head | None = None
    """The last record that counts, once the client is revoked; None: none does."""
    erased: Sequence[Erasure] = ()
    """Ranges of this log that a signed document erases."""
    anchors: Mapping[Seq, RecordHash] = field(default_factory=dict)
    """Hashes that the account document names, by the seq they stand at."""
    head: Head | None = None
    epoch: int = 0
    """The epoch of the record at `head`."""

    @classmethod
    def of(
        cls,
        account: VerifiedAccount,
        client_id: ClientId,
        ring: Mapping[int, EpochKey],
    ) -> Self:
        """Return the empty log of a client; `WrongPlaceError`: there is none such."""
        entry = account.clients.get(client_id)
        if entry is None:
            raise WrongPlaceError(
                f"the account document does not name client {client_id.hex()[:8]}"
            )
        heads = [head for owner, head in account.document.heads if owner == client_id]
        if entry.final is not None:
            heads.append(entry.final)
        return cls(
            account_id=account.document.account_id,
            client_id=client_id,
            client_public=entry.public,
            ring=ring,
            revoked=entry.revoked,
            final=entry.final,
            erased=account.erased(client_id),
            anchors={head.seq: head.hash for head in heads},
        )

    @property
    def next_seq(self) -> Seq:
        """The seq that is accepted next."""
        return Seq(0 if self.head is None else self.head.seq + 1)

    def accept(self, record: SealedRecord) -> bytes | None:
        """Verify the next record and advance; return its padded payload.

        None for a record whose body the owner had destroyed. Raises an
        `IntegrityError`, or `UnsupportedSuiteError`, and believes nothing of it.
        """
        head = self._check_header(record)
        opened = self._open(record)
        self.head = head
        self.epoch = record.header.epoch
        return opened

    def accept_header(self, record: SealedRecord) -> None:
        """Verify the next record but for its body, and advance.

        For who goes on past a body that is missing, having reported it. Raises
        as `accept`, and believes nothing of it then.
        """
        self.head = self._check_header(record)
        self.epoch = record.header.epoch

    def check_head(self, offered: Head | None) -> None:
        """Raise if a copy of this log is shorter than, or other than, this one.

        Raises `RollbackError` if it ends before what was verified here, and
        `ChainError` if it has another record at the same seq.
        """
        if self.head is None:
            return
        if offered is None or offered.seq < self.head.seq:
            raise RollbackError(
                f"log of client {self.client_id.hex()[:8]}",
                verified=self.next_seq,
                offered=0 if offered is None else offered.seq + 1,
            )
        if offered.seq == self.head.seq and offered.hash != self.head.hash:
            raise ChainError(f"record {offered.seq} has two hashes")

    def _check_header(self, record: SealedRecord) -> Head:
        """Return what the head will be, if rules 1 to 9 hold."""
        header = self._check_form(record)
        self._check_place(header)
        # 8: its client signed it. What was signed are the bytes as received.
        verify_record(self.client_public, record)
        # 9: it is the record that the owner had verified at this place.
        found = record.hash
        if self.anchors.get(header.seq, found) != found:
            raise ChainError(
                f"record {header.seq} is another one than the account document names"
            )
        return Head(seq=header.seq, hash=found)

    def _check_form(self, record: SealedRecord) -> Header:
        # 1: the bytes are a record. Checked again here, for a value of this type
        # proves nothing of its parts.
        try:
            header = Header.decode(record.header_bytes)
        except MalformedRecordError as error:
            problem = str(error)
        else:
            if header == record.header:
                return header
            problem = "the parsed header is not the one that was signed"
        raise MalformedError(problem)

    def _check_place(self, header: Header) -> None:
        # 2: it is of this account and this client.
        if header.account_id != self.account_id:
            raise WrongPlaceError(f"record {header.seq} is of another account")
        if header.client_id != self.client_id:
            raise WrongPlaceError(
                f"record {header.seq} is of client {header.client_id.hex()[:8]},"
                f" not {self.client_id.hex()[:8]}"
            )
        # 3: it is the next one.
        if header.seq != self.next_seq:
            raise GapError(expected=self.next_seq, got=header.seq)
        # 4: it follows the one before it.
        if header.prev != (ZERO_HASH if self.head is None else self.head.hash):
            raise ChainError(f"record {header.seq} does not follow the one before it")
        # 5: its epoch exists, 6: and was not left behind.
        if header.epoch not in self.ring:
            raise EpochError(
                f"record {header.seq} is of epoch {header.epoch}, the account's last"
                f" is {max(self.ring)}"
            )
        if header.epoch < self.epoch:
            raise EpochError(
                f"record {header.seq} is of epoch {header.epoch}, the log is at"
                f" {self.epoch}"
            )
        # 7: it is not beyond the end of a revoked client.
        if self.revoked and (self.final is None or header.seq > self.final.seq):
            raise RevokedError(
                f"record {header.seq} stands after the end of a revoked client"
            )

    def _open(self, record: SealedRecord) -> bytes | None:
        header = record.header
        # 10: without its body only where the owner had it destroyed.
        if record.body is None:
            if any(e.from_seq <= header.seq <= e.to_seq for e in self.erased):
                return None
            raise BodyMissingError(f"record {header.seq} has no body")
        # 11: the body is the one that was signed, so that a host, which cannot
        # open it, judges as we do.
        if (
            len(record.body) != header.body_bytes
            or hash_body(record.body) != header.body_hash
        ):
            raise MalformedError(
                f"the body of record {header.seq} is not the one the header names"
            )
        # 12: it opens, here and nowhere else.
        return open_record(self.ring[header.epoch], record)
