"""docs/protocol/record.md and logs.md: one log, verified from seq 0."""

from dataclasses import dataclass, field
from typing import Final

from tests.independent_reader.account import (
    SEQ_MAX,
    ZEROS,
    Client,
    Document,
    Head,
    need,
)
from tests.independent_reader.primitives import (
    Fields,
    NewerError,
    PayloadError,
    check_signed,
    hashed,
    opened,
    uint,
)

BODY_BYTES_MAX: Final = 1048576
PLAINTEXT_BYTES_MAX: Final = 1048560
DOCUMENT_BYTES_MAX: Final = 4194304


@dataclass(frozen=True)
class Accepted:
    """A record that broke no rule. `plaintext` is None where its body is erased."""

    seq: int
    hash: bytes
    plaintext: bytes | None


@dataclass
class Log:
    """One log, as far as it was accepted."""

    account_id: bytes
    public: bytes
    """The client's key."""
    ring: dict[int, bytes]
    end: tuple[int, Head | None] | None = None
    """Standing and `final` of a revoked client."""
    known: dict[int, bytes] = field(default_factory=dict)
    """Hashes that the account document names, by seq."""
    erased: list[tuple[int, int]] = field(default_factory=list)
    next_seq: int = 0
    prev: bytes = ZEROS
    epoch: int = 0

    @classmethod
    def of(cls, document: Document, client: Client, ring: dict[int, bytes]) -> "Log":
        known = [document.heads.get(client.id), client.final]
        return cls(
            account_id=document.account_id,
            public=client.public,
            ring=ring,
            end=client.end,
            known=dict(head for head in known if head is not None),
            erased=[(a, b) for own, a, b in document.erased if own == client.id],
        )

    def accept(self, header: bytes, signature: bytes, body: bytes | None) -> Accepted:
        """Take the next record; raises, and changes nothing, by rules 1 to 12."""
        what = f"record {self.next_seq}"
        fields = Fields(header, what)
        need(fields.take(4) == b"AWSR", f"{what} is none")
        if fields.uint(1) != 1:
            raise NewerError(f"{what} has another suite")
        account_id, client_id = fields.take(16), fields.take(16)
        epoch, seq, prev = fields.uint(4), fields.uint(8), fields.take(32)
        h0 = header[: fields.at]
        seal = fields.take(24 + 32)
        body_bytes, body_hash = fields.uint(4), fields.take(32)
        fields.end()
        need(len(signature) == 64, f"{what} ends too early")
        need(seq <= SEQ_MAX and body_bytes <= BODY_BYTES_MAX, f"{what} is too large")
        need(account_id == self.account_id, f"{what} is of another account")
        own = hashed("client", self.public, 16)
        need(client_id == own, f"{what} is of another client")
        need(seq == self.next_seq, f"{what} is missing")
        need(prev == self.prev, f"{what} does not follow the one before")
        need(epoch in self.ring and epoch >= self.epoch, f"{what} is of another epoch")
        if self.end is not None:
            final = self.end[1]
            need(final is not None and seq <= final[0], f"{what} is after the end")
        check_signed(self.public, "record", header, signature, what)
        record_hash = hashed("record-hash", header + signature)
        need(self.known.get(seq, record_hash) == record_hash, f"{what} is another one")
        plaintext = None
        if body is None:
            erased = any(first <= seq <= last for first, last in self.erased)
            need(erased, f"{what} has no body")
        else:
            need(
                len(body) == body_bytes and hashed("body", body) == body_hash,
                f"{what} has another body",
            )
            plaintext = opened(self.ring[epoch], "record-seal", h0, seal + body, what)
        self.next_seq, self.prev, self.epoch = seq + 1, record_hash, epoch
        return Accepted(seq, record_hash, plaintext)


def frames_of(data: bytes) -> list[tuple[bytes, bytes, bytes | None]]:
    """Return (header, signature, body) of each frame of http-api.md."""
    found = []
    rest = Fields(data, "the frames")
    while rest.at < len(data):
        flags = rest.uint(1)
        need(flags in {0, 1}, "a frame has unknown flags")
        header, signature = rest.take(173), rest.take(64)
        need(header[:5] == b"AWSR\x01", "a frame holds no record")
        body_bytes = uint(header[137:141])
        need(body_bytes <= BODY_BYTES_MAX, "a body is too long")
        body = rest.take(body_bytes) if flags else None
        own = body is None or hashed("body", body) == header[141:]
        need(own, "a body is another one")
        found.append((header, signature, body))
    return found


def documents_of(data: bytes) -> list[bytes]:
    """Return each document of LP(document), one after the other."""
    found = []
    rest = Fields(data, "the documents")
    while rest.at < len(data):
        size = rest.uint(4)
        need(size <= DOCUMENT_BYTES_MAX, "a document is too long")
        found.append(rest.take(size))
    return found


def padded_bytes(size: int, floor: int) -> int:
    """Return what a writer makes of `size` bytes, the length field counted."""
    if size <= floor:
        return floor
    exponent = size.bit_length() - 1
    step = 1 << max(exponent - exponent.bit_length(), 0)
    return min(-(-size // step) * step, PLAINTEXT_BYTES_MAX)


def unpadded(plaintext: bytes) -> bytes:
    """Return the packed payload in a record's plaintext."""
    end = 4 + uint(plaintext[:4])
    if len(plaintext) < 4 or end > len(plaintext) or any(plaintext[end:]):
        raise PayloadError("the padding is not in its form")
    return plaintext[4:end]
