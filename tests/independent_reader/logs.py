"""docs/protocol/record.md and logs.md: one log, verified from seq 0."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.independent_reader.account import SEQ_MAX, ZEROS, Client, Document, need
from tests.independent_reader.primitives import (
    Fields,
    NewerError,
    PayloadError,
    check_signed,
    hashed,
    opened,
    uint,
)

BODY_BYTES_MAX = 1048576


@dataclass(frozen=True)
class Accepted:
    """A record that broke no rule. `packed` is None where its body is erased."""

    seq: int
    hash: bytes
    plaintext: bytes | None


def accepted(
    document: Document,
    client: Client,
    ring: dict[int, bytes],
    records: Iterable[tuple[int, bytes, bytes, bytes | None]],
) -> Iterator[Accepted]:
    """Yield (seq of the row, header, signature, body) as rules 1 to 12 accept it."""
    known = {}
    if client.id in document.heads:
        known[document.heads[client.id][0]] = document.heads[client.id][1]
    if client.final is not None:
        known[client.final[0]] = client.final[1]
    erased = [(first, last) for own, first, last in document.erased if own == client.id]
    next_seq, prev_hash, last_epoch = 0, ZEROS, 0
    for row_seq, header, signature, body in records:
        what = f"record {next_seq} of client {client.number}"
        fields = Fields(header, what)
        need(fields.take(4) == b"AWSR" and len(signature) == 64, f"{what} is none")
        if fields.uint(1) != 1:
            raise NewerError(f"{what} has another suite")
        account_id, client_id = fields.take(16), fields.take(16)
        epoch, seq, prev = fields.uint(4), fields.uint(8), fields.take(32)
        h0 = header[: fields.at]
        seal = fields.take(24 + 32)
        body_bytes, body_hash = fields.uint(4), fields.take(32)
        fields.end()
        need(seq <= SEQ_MAX and body_bytes <= BODY_BYTES_MAX, f"{what} is too large")
        need(account_id == document.account_id, f"{what} is of another account")
        need(client_id == client.id, f"{what} is of another client")
        need(seq == row_seq == next_seq, f"{what} is missing")
        need(prev == prev_hash, f"{what} does not follow the one before")
        need(epoch in ring and epoch >= last_epoch, f"{what} is of another epoch")
        need(
            not client.standing
            or (client.final is not None and seq <= client.final[0]),
            f"{what} is after the end of its client",
        )
        check_signed(client.public, "record", header, signature, what)
        record_hash = hashed("record-hash", header + signature)
        need(known.get(seq, record_hash) == record_hash, f"{what} is another one")
        plaintext = None
        if body is None:
            need(
                any(first <= seq <= last for first, last in erased),
                f"{what} has no body",
            )
        else:
            need(
                len(body) == body_bytes and hashed("body", body) == body_hash,
                f"{what} has another body",
            )
            plaintext = opened(ring[epoch], "record-seal", h0, seal + body, what)
        yield Accepted(seq, record_hash, plaintext)
        next_seq, prev_hash, last_epoch = seq + 1, record_hash, epoch


def unpadded(plaintext: bytes) -> bytes:
    """Return the packed payload in a record's plaintext."""
    end = 4 + uint(plaintext[:4])
    if len(plaintext) < 4 or end > len(plaintext) or any(plaintext[end:]):
        raise PayloadError("the padding is not in its form")
    return plaintext[4:end]
