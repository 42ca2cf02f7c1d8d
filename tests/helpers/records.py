"""Records that are in order, for tests to which the seal is no matter."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from awserver.records import (
    SIGNATURE_BYTES,
    ZERO_HASH,
    AccountId,
    ClientId,
    Header,
    RecordHash,
    SealedRecord,
    Seq,
    hash_body,
)

ACCOUNT: Final = AccountId(b"a" * 16)
OTHER_ACCOUNT: Final = AccountId(b"b" * 16)
CLIENT: Final = ClientId(b"c" * 16)
OTHER_CLIENT: Final = ClientId(b"d" * 16)


def record(
    seq: int = 0,
    *,
    prev: RecordHash = ZERO_HASH,
    body: bytes = b"sealed",
    account: AccountId = ACCOUNT,
    client: ClientId = CLIENT,
    epoch: int = 0,
) -> SealedRecord:
    """Return a record whose form is right and whose seal is not looked at."""
    header = Header(
        account_id=account,
        client_id=client,
        epoch=epoch,
        seq=Seq(seq),
        prev=prev,
        salt=b"s" * 24,
        commitment=b"k" * 32,
        body_bytes=len(body),
        body_hash=hash_body(body),
    )
    return SealedRecord(
        header=header,
        header_bytes=header.encode(),
        signature=b"g" * SIGNATURE_BYTES,
        body=body,
    )


def chain(
    count: int,
    *,
    after: SealedRecord | None = None,
    account: AccountId = ACCOUNT,
    client: ClientId = CLIENT,
    epoch: int = 0,
    body: bytes = b"sealed",
) -> list[SealedRecord]:
    """Return `count` records of one log, the first of them after `after`."""
    records: list[SealedRecord] = []
    for _ in range(count):
        seq = 0 if after is None else after.header.seq + 1
        after = record(
            seq,
            prev=ZERO_HASH if after is None else after.hash,
            body=body + b" %d" % seq,
            account=account,
            client=client,
            epoch=epoch,
        )
        records.append(after)
    return records


def without_body(records: Sequence[SealedRecord]) -> list[SealedRecord]:
    return [replace(one, body=None) for one in records]
