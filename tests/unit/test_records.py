"""The public bytes of a record, whatever arrives, and the signatures over them."""

from dataclasses import replace
from hashlib import blake2b
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from awserver.errors import MalformedRecordError, SignatureInvalidError
from awserver.records import (
    BODY_BYTES_MAX,
    H0_BYTES,
    HEADER_BYTES,
    MAGIC,
    RECORD_BYTES_MIN,
    SEQ_MAX,
    SUITE,
    AccountId,
    ClientId,
    Header,
    RecordHash,
    SealedRecord,
    Seq,
    hash_body,
)
from awserver.signatures import verify_signature
from tests.helpers.records import record

EXAMPLES: Final = settings(deadline=None, max_examples=200)


def exactly(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


@st.composite
def records(draw: st.DrawFn) -> SealedRecord:
    body = draw(st.binary(max_size=300))
    header = Header(
        account_id=AccountId(draw(exactly(16))),
        client_id=ClientId(draw(exactly(16))),
        epoch=draw(st.integers(0, 2**32 - 1)),
        seq=Seq(draw(st.integers(0, SEQ_MAX))),
        prev=RecordHash(draw(exactly(32))),
        salt=draw(exactly(24)),
        commitment=draw(exactly(32)),
        body_bytes=len(body),
        body_hash=hash_body(body),
    )
    return SealedRecord(
        header=header,
        header_bytes=header.encode(),
        signature=draw(exactly(64)),
        body=body,
    )


# Bytes that begin as a record does get further than bytes that do not.
almost_records = st.builds(
    lambda suite, rest: MAGIC + bytes([suite]) + rest,
    st.sampled_from([SUITE, SUITE, 0, 2, 255]),
    st.binary(max_size=400),
)


@EXAMPLES
@given(records())
def test_a_record_is_what_its_bytes_are(one: SealedRecord) -> None:
    """Encoding and decoding lose nothing."""
    assert SealedRecord.decode(one.encode()) == one
    assert Header.decode(one.header_bytes) == one.header
    assert one.header.encode() == one.header_bytes


@EXAMPLES
@given(st.one_of(st.binary(max_size=400), almost_records))
def test_arbitrary_bytes_are_refused_or_a_record(data: bytes) -> None:
    """Decoding raises its own error or gives back the same bytes; nothing else."""
    for decode in (SealedRecord.decode, Header.decode):
        try:
            decoded = decode(data)
        except MalformedRecordError:
            continue
        assert decoded.encode() == data


@EXAMPLES
@given(records(), st.data())
def test_a_flipped_bit_is_refused_or_shows(
    one: SealedRecord, data: st.DataObject
) -> None:
    """No bit of a record is ignored; of its body none can change unnoticed."""
    encoded = bytearray(one.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = SealedRecord.decode(bytes(encoded))
    except MalformedRecordError:
        return
    assert at < RECORD_BYTES_MIN, "a changed body was taken"
    assert decoded != one
    assert (decoded.hash, decoded.header) != (one.hash, one.header)


@pytest.mark.parametrize("body", [b"", b"x", bytes(100)])
def test_every_truncation_and_extension_is_refused(body: bytes) -> None:
    """Only the exact length is a record."""
    encoded = record(7, body=body).encode()
    for length in range(len(encoded)):
        with pytest.raises(MalformedRecordError):
            SealedRecord.decode(encoded[:length])
    for more in (b"\0", b"AWSR", encoded):
        with pytest.raises(MalformedRecordError):
            SealedRecord.decode(encoded + more)


def changed(field: str, value: object) -> bytes:
    one = record(3)
    return replace(one.header, **{field: value}).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"AWSX" + record().header_bytes[4:], "do not begin"),
        (MAGIC + b"\x02" + record().header_bytes[5:], "suite is 2"),
        (changed("seq", SEQ_MAX + 1), str(SEQ_MAX)),
        (changed("seq", 2**64 - 1), str(SEQ_MAX)),
        (changed("body_bytes", BODY_BYTES_MAX + 1), str(BODY_BYTES_MAX)),
        (changed("body_bytes", 2**32 - 1), str(BODY_BYTES_MAX)),
        (b"", f"{HEADER_BYTES} bytes, got 0"),
    ],
)
def test_a_header_that_cannot_be_is_refused(header: bytes, message: str) -> None:
    """The message says what was expected and what came."""
    with pytest.raises(MalformedRecordError, match=message):
        Header.decode(header)


def test_the_longest_body_is_a_record() -> None:
    """The limit itself is allowed."""
    one = record(body=bytes(BODY_BYTES_MAX))
    assert SealedRecord.decode(one.encode()) == one


def test_a_signature_of_another_length_is_refused() -> None:
    """Records also arrive in parts."""
    one = record()
    for signature in (b"", bytes(63), bytes(65)):
        with pytest.raises(MalformedRecordError, match="64 bytes"):
            SealedRecord.of_parts(one.header_bytes, signature, one.body)


def test_the_layout_is_the_specified_one() -> None:
    """Each field stands at its offset, little-endian; written out by hand."""
    one = record(0x0102030405060708, epoch=0x0A0B0C0D, body=b"body")
    expected = b"".join(
        [
            b"AWSR\x01",
            b"a" * 16,
            b"c" * 16,
            bytes.fromhex("0d0c0b0a"),
            bytes.fromhex("0807060504030201"),
            bytes(32),
            b"s" * 24,
            b"k" * 32,
            bytes.fromhex("04000000"),
            blake2b(b"body", digest_size=32, person=b"body").digest(),
        ]
    )
    assert (H0_BYTES, HEADER_BYTES, RECORD_BYTES_MIN) == (81, 173, 237)
    assert one.header_bytes == expected
    assert one.header.h0() == expected[:81]
    assert one.signed_bytes() == b"\x06\0\0\0record" + expected
    assert one.encode() == expected + b"g" * 64 + b"body"
    assert (
        one.hash
        == blake2b(expected + b"g" * 64, digest_size=32, person=b"record-hash").digest()
    )


def test_the_hash_does_not_cover_the_body() -> None:
    """A record whose body is gone still carries the chain."""
    one = record(body=b"body")
    assert one.without_body().hash == one.hash
    assert one.without_body().encode() == one.encode()[:-4]


@EXAMPLES
@given(st.binary(max_size=40), st.binary(max_size=70), st.binary(max_size=100))
def test_an_arbitrary_signature_is_refused(
    key: bytes, signature: bytes, message: bytes
) -> None:
    """Whatever is wrong with key or signature, there is one error."""
    with pytest.raises(SignatureInvalidError):
        verify_signature(key, message, signature)


def test_a_signature_verifies_under_its_key_alone() -> None:
    """Another key, another message, a flipped bit: refused."""
    key, other = SigningKey(bytes(32)), SigningKey(b"\1" * 32)
    signature = key.sign(b"message").signature
    public = key.verify_key.encode()
    verify_signature(public, b"message", signature)
    for wrong in (
        (other.verify_key.encode(), b"message", signature),
        (public, b"massage", signature),
        (public, b"message", bytes([signature[0] ^ 1]) + signature[1:]),
        (public, b"message", signature + b"\0"),
        (public, b"message" + b"\0", signature),
    ):
        with pytest.raises(SignatureInvalidError):
            verify_signature(*wrong)
