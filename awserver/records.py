"""The public bytes of a record: what both packages share.

    H0     = magic[4] suite[1] account_id[16] client_id[16] epoch[4] seq[8] prev[32]
    header = H0 || salt[24] || commitment[32] || body_bytes[4] || body_hash[32]
    record = header || signature[64] || body

Integers are little-endian. docs/protocol/record.md has the reasons. The host
reads the header to keep order and to count; it cannot open the body.
"""

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NewType, Self

from awserver import labels
from awserver.encoding import lp
from awserver.errors import MalformedRecordError

AccountId = NewType("AccountId", bytes)
ClientId = NewType("ClientId", bytes)
Seq = NewType("Seq", int)
RecordHash = NewType("RecordHash", bytes)

MAGIC: Final = b"AWSR"
SUITE: Final = 1
ID_BYTES: Final = 16
HASH_BYTES: Final = 32
SALT_BYTES: Final = 24
SIGNATURE_BYTES: Final = 64
BODY_BYTES_MAX: Final = 1024 * 1024
SEQ_MAX: Final = 2**63 - 1
"""The largest seq that every store can hold."""

ZERO_HASH: Final = RecordHash(bytes(HASH_BYTES))
"""The `prev` of a log's first record."""

_H0: Final = struct.Struct("<4sB16s16sIQ32s")
_REST: Final = struct.Struct("<24s32sI32s")
H0_BYTES: Final = _H0.size
HEADER_BYTES: Final = _H0.size + _REST.size
RECORD_BYTES_MIN: Final = HEADER_BYTES + SIGNATURE_BYTES


def account_id_of(first_signing_public: bytes) -> AccountId:
    """Return the id that the account's first signing key certifies."""
    return AccountId(_hash(labels.ACCOUNT, first_signing_public, ID_BYTES))


def client_id_of(client_public: bytes) -> ClientId:
    """Return the id that a client's key certifies."""
    return ClientId(_hash(labels.CLIENT, client_public, ID_BYTES))


def hash_body(body: bytes) -> bytes:
    """Return BLAKE2b-256 of a sealed body, under the label "body"."""
    return _hash(labels.BODY, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a record says of itself in the clear, all of it authenticated."""

    account_id: AccountId
    client_id: ClientId
    epoch: int
    seq: Seq
    prev: RecordHash
    salt: bytes
    commitment: bytes
    body_bytes: int
    body_hash: bytes

    def h0(self) -> bytes:
        """Return the part that says where the record belongs."""
        return encode_h0(
            account_id=self.account_id,
            client_id=self.client_id,
            epoch=self.epoch,
            seq=self.seq,
            prev=self.prev,
        )

    def encode(self) -> bytes:
        """Return the header's bytes."""
        return self.h0() + _REST.pack(
            self.salt, self.commitment, self.body_bytes, self.body_hash
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a header; raises `MalformedRecordError`."""
        if len(data) != HEADER_BYTES:
            raise MalformedRecordError(
                f"a record header has {HEADER_BYTES} bytes, got {len(data)}"
            )
        magic, suite, account_id, client_id, epoch, seq, prev = _H0.unpack_from(data)
        if magic != MAGIC:
            raise MalformedRecordError("the bytes do not begin as a record does")
        if suite != SUITE:
            raise MalformedRecordError(
                f"record suite is {suite}, this program knows {SUITE}", suite=suite
            )
        if seq > SEQ_MAX:
            raise MalformedRecordError(f"seq {seq} is above {SEQ_MAX}")
        salt, commitment, body_bytes, body_hash = _REST.unpack_from(data, H0_BYTES)
        if body_bytes > BODY_BYTES_MAX:
            raise MalformedRecordError(
                f"record body has {body_bytes} bytes, at most {BODY_BYTES_MAX}"
            )
        return cls(
            account_id=AccountId(account_id),
            client_id=ClientId(client_id),
            epoch=epoch,
            seq=Seq(seq),
            prev=RecordHash(prev),
            salt=salt,
            commitment=commitment,
            body_bytes=body_bytes,
            body_hash=body_hash,
        )


def encode_h0(
    *,
    account_id: AccountId,
    client_id: ClientId,
    epoch: int,
    seq: Seq,
    prev: RecordHash,
) -> bytes:
    """Return H0: what a record's key, commitment and body are bound to."""
    return _H0.pack(MAGIC, SUITE, account_id, client_id, epoch, seq, prev)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRecord:
    """A record as it travels and lies. `body` is None where it was not sent."""

    header: Header
    header_bytes: bytes
    signature: bytes
    body: bytes | None

    @property
    def hash(self) -> RecordHash:
        """What the next record names as its `prev`; the body is outside of it."""
        return RecordHash(_hash(labels.RECORD_HASH, self.header_bytes + self.signature))

    def signed_bytes(self) -> bytes:
        """Return the message that the client's key signs."""
        return signed_bytes(self.header_bytes)

    def encode(self) -> bytes:
        """Return the record's bytes; without the body, if it is not here."""
        return self.header_bytes + self.signature + (self.body or b"")

    def without_body(self) -> "SealedRecord":
        """Return the record as one whose body was not sent."""
        return SealedRecord(
            header=self.header,
            header_bytes=self.header_bytes,
            signature=self.signature,
            body=None,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a whole record, body included; raises `MalformedRecordError`.

        Checks the form, the length and the hash of the body. Whether the
        signature is the client's, and the place right, others check.
        """
        if len(data) < RECORD_BYTES_MIN:
            raise MalformedRecordError(
                f"a record has at least {RECORD_BYTES_MIN} bytes, got {len(data)}"
            )
        return cls.of_parts(
            data[:HEADER_BYTES],
            data[HEADER_BYTES:RECORD_BYTES_MIN],
            data[RECORD_BYTES_MIN:],
        )

    @classmethod
    def of_parts(
        cls, header_bytes: bytes, signature: bytes, body: bytes | None
    ) -> Self:
        """Read a record from its three parts; as `decode`."""
        header = Header.decode(header_bytes)
        return cls.of_header(header, header_bytes, signature, body)

    @classmethod
    def of_header(
        cls, header: Header, header_bytes: bytes, signature: bytes, body: bytes | None
    ) -> Self:
        """Read the rest of a record whose header was just decoded; as `decode`."""
        if len(signature) != SIGNATURE_BYTES:
            raise MalformedRecordError(
                f"a signature has {SIGNATURE_BYTES} bytes, got {len(signature)}"
            )
        if body is not None:
            if len(body) != header.body_bytes:
                raise MalformedRecordError(
                    f"the header names a body of {header.body_bytes} bytes,"
                    f" got {len(body)}"
                )
            if hash_body(body) != header.body_hash:
                raise MalformedRecordError("the body is not the one the header names")
        return cls(
            header=header, header_bytes=header_bytes, signature=signature, body=body
        )


def signed_bytes(header_bytes: bytes) -> bytes:
    """Return LP("record") || header."""
    return lp(labels.RECORD) + header_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The place and the hash of a log's newest record."""

    seq: Seq
    hash: RecordHash


def _hash(label: labels.Label, data: bytes, size: int = HASH_BYTES) -> bytes:
    return blake2b(data, digest_size=size, person=label).digest()
