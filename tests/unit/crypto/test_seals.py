"""Seals: they open, and their callers' mistakes are caught."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from awserver.documents import EPOCHS_MAX
from awserver.records import BODY_BYTES_MAX, ZERO_HASH, Seq
from awvault.crypto import labels
from awvault.crypto.committing import OVERHEAD_BYTES, open_sealed, seal
from awvault.crypto.envelope import (
    PLAINTEXT_BYTES_MAX,
    decode_record,
    open_record,
    seal_record,
    verify_record,
)
from awvault.crypto.keys import (
    BootKey,
    ClientKey,
    EpochKey,
    JournalKey,
    MasterKey,
    Passphrase,
    derive_boot_key,
)
from awvault.crypto.passphrase import (
    Profile,
    bound_salt,
    derive_passphrase_key,
    new_salt,
)
from awvault.crypto.rows import OVERHEAD_BYTES as ROW_OVERHEAD_BYTES
from awvault.crypto.rows import open_row, seal_row
from awvault.crypto.signing import key_pair, sign, verify_signed
from awvault.crypto.slots import (
    decode_ring,
    encode_ring,
    open_client_label,
    seal_client_label,
)
from awvault.errors import (
    Error,
    LimitError,
    NotEnoughMemoryError,
    SealError,
    SignatureError,
)
from tests.helpers.owners import Owner
from tests.helpers.randomness import Seeded, fixed

KEY = fixed("key")
OWNER = Owner()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_seal_opens(context: bytes, plaintext: bytes) -> None:
    """What was sealed comes back, and the seal adds 72 bytes."""
    sealed = seal(KEY, labels.KEYSTORE, context, plaintext, Seeded("s"))

    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert open_sealed(KEY, labels.KEYSTORE, context, sealed) == plaintext


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_row_opens(context: bytes, plaintext: bytes) -> None:
    """What was sealed comes back, and the seal adds 40 bytes."""
    sealed = seal_row(BootKey(KEY), context, plaintext, Seeded("r"))

    assert len(sealed) == len(plaintext) + ROW_OVERHEAD_BYTES
    assert open_row(BootKey(KEY), context, sealed) == plaintext


@given(st.binary(max_size=200))
def test_random_bytes_are_no_seal(data: bytes) -> None:
    """Whatever the bytes, the error is the one of a seal."""
    with pytest.raises(SealError):
        open_sealed(KEY, labels.KEYSTORE, b"", data)
    with pytest.raises(SealError):
        open_row(BootKey(KEY), b"", data)


@given(st.binary(max_size=3000), st.integers(0, 2**63 - 1))
def test_a_record_opens(plaintext: bytes, seq: int) -> None:
    """At any seq a record is read as it was written, and verifies."""
    key = ClientKey(fixed("client"))

    record = seal_record(
        EpochKey(KEY),
        key,
        account_id=OWNER.account_id,
        client_id=key.client_id,
        epoch=3,
        seq=Seq(seq),
        prev=ZERO_HASH,
        plaintext=plaintext,
        random=Seeded("record"),
    )

    assert decode_record(record.encode()) == record
    verify_record(key.public, record)
    assert open_record(EpochKey(KEY), record) == plaintext


def test_the_largest_record_fits() -> None:
    """A plaintext of the limit makes a body of the limit; one more is refused."""
    record = OWNER.record(bytes(PLAINTEXT_BYTES_MAX))

    assert record.header.body_bytes == BODY_BYTES_MAX
    assert OWNER.log().accept(decode_record(record.encode())) is not None
    with pytest.raises(LimitError) as caught:
        OWNER.record(bytes(PLAINTEXT_BYTES_MAX + 1))
    assert str(PLAINTEXT_BYTES_MAX) in str(caught.value)


def test_a_client_does_not_sign_for_another() -> None:
    """The client id of a record is that of the key that signs it."""
    with pytest.raises(ValueError, match="not that of the client key"):
        seal_record(
            EpochKey(KEY),
            ClientKey(fixed("one")),
            account_id=OWNER.account_id,
            client_id=ClientKey(fixed("two")).client_id,
            epoch=0,
            seq=Seq(0),
            prev=ZERO_HASH,
            plaintext=b"",
            random=Seeded("record"),
        )


def test_a_record_without_its_body_does_not_open() -> None:
    """That a body is not here is a seal that does not open, and says so."""
    with pytest.raises(SealError, match="the body of record 0 is not here"):
        open_record(OWNER.epoch_key(), OWNER.record(b"x").without_body())


# -- signatures


def test_a_signature_serves_one_purpose() -> None:
    """A signature of a record is none of a document, over the same bytes."""
    public, secret = key_pair(fixed("seed"))
    signature = sign(secret, labels.RECORD, b"message")

    verify_signed(public, labels.RECORD, b"message", signature)
    for label, message in [
        (labels.DOCUMENT, b"message"),
        (labels.RECORD, b"other"),
    ]:
        with pytest.raises(SignatureError):
            verify_signed(public, label, message, signature)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_public_key_of_another_length_is_refused(size: int) -> None:
    """Not as a fault of the program, but as a signature that is wrong."""
    with pytest.raises(SignatureError):
        verify_signed(bytes(size), labels.RECORD, b"", bytes(64))


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    """Neither cut nor long signatures are looked at."""
    public, _ = key_pair(fixed("seed"))
    with pytest.raises(SignatureError):
        verify_signed(public, labels.RECORD, b"", bytes(size))


def test_a_second_form_of_a_signature_is_refused() -> None:
    """S + L is the same number to a careless verifier; here it is no signature."""
    order = 2**252 + 27742317777372353535851937790883648493
    public, secret = key_pair(fixed("seed"))
    signature = sign(secret, labels.RECORD, b"message")
    s = int.from_bytes(signature[32:], "little") + order

    with pytest.raises(SignatureError):
        verify_signed(
            public, labels.RECORD, b"message", signature[:32] + s.to_bytes(32, "little")
        )


@pytest.mark.parametrize(
    "public",
    [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"],
    ids=["order-4", "order-1", "order-2"],
)
def test_a_key_of_small_order_is_refused(public: bytes) -> None:
    """Such a key verifies one signature for many messages; it is refused."""
    forged = b"\1" + bytes(63)

    with pytest.raises(SignatureError):
        verify_signed(public, labels.RECORD, b"any message", forged)


# -- passphrases


def test_argon2_without_its_memory_says_so() -> None:
    """A machine without the memory gets an error with the number, and no key."""
    huge = Profile(memory_kib=2**32 - 1, passes=1)

    with pytest.raises(NotEnoughMemoryError) as caught:
        derive_passphrase_key(
            Passphrase("x"), username="local", salt=bytes(16), profile=huge
        )

    assert caught.value.needed_bytes == (2**32 - 1) * 1024


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_salt_has_16_bytes(size: int) -> None:
    """Another length is refused before anything is hashed."""
    with pytest.raises(ValueError, match=f"16 bytes, got {size}"):
        bound_salt("local", bytes(size))


def test_a_new_salt_is_what_was_drawn() -> None:
    """The salt of a passphrase follows from nothing but the generator."""
    assert new_salt(lambda size: b"s" * size) == b"s" * 16


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_start_has_32_random_bytes(size: int) -> None:
    """A boot key of fewer random bytes, or none, is not made."""
    with pytest.raises(ValueError, match=f"32 random bytes, got {size}"):
        derive_boot_key(JournalKey(KEY), bytes(size))


# -- rings and labels


@given(st.integers(1, 40))
def test_a_ring_reads_as_it_was_written(epochs: int) -> None:
    """All epochs from 0 come back."""
    ring = {epoch: EpochKey(fixed(f"epoch {epoch}")) for epoch in range(epochs)}

    assert decode_ring(encode_ring(ring)) == ring


@pytest.mark.parametrize("epochs", [[], [1], [0, 2], range(EPOCHS_MAX + 1)])
def test_a_ring_with_a_gap_is_not_written(epochs: list[int]) -> None:
    """A ring that no reader would take is not made."""
    key = EpochKey(KEY)

    with pytest.raises(ValueError, match="all epochs from 0"):
        encode_ring(dict.fromkeys(epochs, key))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_ring_or_an_error_of_ours(data: bytes) -> None:
    """What is inside a good seal may still be anything."""
    try:
        ring = decode_ring(data)
    except Error:
        return
    assert encode_ring(ring) == data


@given(st.text(max_size=200))
def test_a_label_of_any_text_is_sealed_in_one_size(text: str) -> None:
    """A label is cut to whole letters of at most 127 bytes; its length is hidden."""
    key = EpochKey(KEY)
    place = {"account_id": OWNER.account_id, "client_id": OWNER.client_id()}

    sealed = seal_client_label(key, text, random=Seeded("label"), **place)  # type: ignore[arg-type]
    opened = open_client_label(key, sealed, **place)  # type: ignore[arg-type]

    assert len(sealed) == 200
    assert len(opened.encode()) <= 127
    whole = text.encode("utf-8", "replace").decode()
    assert whole.startswith(opened)
    assert opened == whole or len(opened.encode()) > 123


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        bytes(127),
        b"\x80" + bytes(127),
        b"\1a\1" + bytes(125),
        b"\1\xff" + bytes(126),
    ],
    ids=["empty", "short", "length", "padding", "utf-8"],
)
def test_a_label_in_another_form_is_refused(plaintext: bytes) -> None:
    """A faulty client's label is an error of ours, never one of the codec."""
    key = EpochKey(KEY)
    context = OWNER.account_id + OWNER.client_id()
    sealed = seal(KEY, labels.CLIENT_LABEL, context, plaintext, Seeded("label"))

    with pytest.raises(Error, match="the label of a client") as caught:
        open_client_label(
            key, sealed, account_id=OWNER.account_id, client_id=OWNER.client_id()
        )

    assert type(caught.value).__name__ == "MalformedError"


def test_the_primitive_is_the_ietf_one() -> None:
    """The AEAD takes a 24-byte nonce and a 32-byte key, and adds 16 bytes."""
    assert bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == 24
    assert bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES == MasterKey.SIZE
    assert bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES == 16
