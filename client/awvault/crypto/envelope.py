"""A record: sealed under an epoch key, signed by a client (record.md)."""

from typing import Final

from awserver.errors import MalformedRecordError
from awserver.records import (
    BODY_BYTES_MAX,
    H0_BYTES,
    MAGIC,
    SUITE,
    AccountId,
    ClientId,
    Header,
    RecordHash,
    SealedRecord,
    Seq,
    encode_h0,
    hash_body,
)
from awvault.crypto import labels
from awvault.crypto.committing import TAG_BYTES, Sealed, open_parts, seal_parts
from awvault.crypto.hedge import Random
from awvault.crypto.keys import ClientKey, EpochKey
from awvault.crypto.signing import verify_signed
from awvault.errors import LimitError, MalformedError, SealError, UnsupportedSuiteError

PLAINTEXT_BYTES_MAX: Final = BODY_BYTES_MAX - TAG_BYTES


def seal_record(  # noqa: PLR0913 - what a record is bound to
    epoch_key: EpochKey,
    client_key: ClientKey,
    *,
    account_id: AccountId,
    client_id: ClientId,
    epoch: int,
    seq: Seq,
    prev: RecordHash,
    plaintext: bytes,
    random: Random,
) -> SealedRecord:
    """Return `plaintext`, padded already, as the record of one place in a log.

    Raises `LimitError` above `PLAINTEXT_BYTES_MAX`.
    """
    if len(plaintext) > PLAINTEXT_BYTES_MAX:
        raise LimitError(
            "plaintext",
            f"a record has {len(plaintext)} bytes, at most {PLAINTEXT_BYTES_MAX}",
        )
    if client_id != client_key.client_id:
        raise ValueError("the client id is not that of the client key")
    h0 = encode_h0(
        account_id=account_id, client_id=client_id, epoch=epoch, seq=seq, prev=prev
    )
    sealed = seal_parts(epoch_key.reveal(), labels.RECORD_SEAL, h0, plaintext, random)
    header = Header(
        account_id=account_id,
        client_id=client_id,
        epoch=epoch,
        seq=seq,
        prev=prev,
        salt=sealed.salt,
        commitment=sealed.commitment,
        body_bytes=len(sealed.ciphertext),
        body_hash=hash_body(sealed.ciphertext),
    )
    header_bytes = header.encode()
    return SealedRecord(
        header=header,
        header_bytes=header_bytes,
        signature=client_key.sign(header_bytes),
        body=sealed.ciphertext,
    )


def open_record(epoch_key: EpochKey, record: SealedRecord) -> bytes:
    """Return the padded plaintext; raises `SealError` if it does not open.

    Authenticates the body and its place. Whether the client signed it,
    `verify_record` tells.
    """
    if record.body is None:
        raise SealError(f"the body of record {record.header.seq} is not here")
    header = record.header
    return open_parts(
        epoch_key.reveal(),
        labels.RECORD_SEAL,
        record.header_bytes[:H0_BYTES],
        Sealed(salt=header.salt, commitment=header.commitment, ciphertext=record.body),
    )


def verify_record(client_public: bytes, record: SealedRecord) -> None:
    """Return if the client signed the header; raises `SignatureError` otherwise."""
    verify_signed(client_public, labels.RECORD, record.header_bytes, record.signature)


def decode_record(data: bytes) -> SealedRecord:
    """Read a whole record that came from outside.

    Raises `MalformedError`, or `UnsupportedSuiteError` where the bytes begin as
    a record does, of a suite that a newer client may know.
    """
    at = len(MAGIC)
    if data[:at] == MAGIC and len(data) > at and data[at] != SUITE:
        raise UnsupportedSuiteError(
            f"the record has suite {data[at]}, this client knows {SUITE}: update it"
        )
    try:
        return SealedRecord.decode(data)
    except MalformedRecordError as error:
        problem = str(error)
    raise MalformedError(problem)
