"""Account documents: one encoding, and limits."""

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awserver.documents import DOCUMENT_BYTES_MAX, ERASED_MAX
from awserver.records import ClientId, Head, RecordHash, Seq
from awvault.errors import DocumentError, Error, UnsupportedSuiteError
from awvault.protocol.document import (
    CLIENTS_MAX,
    AccountDocument,
    ClientEntry,
    Erasure,
    decode_document,
    verify_next,
)
from tests.helpers.owners import Owner
from tests.helpers.randomness import fixed

OWNER = Owner()

hashes = st.binary(min_size=32, max_size=32)
seqs = st.integers(0, 2**63 - 1)
heads = st.builds(
    lambda seq, digest: Head(seq=Seq(seq), hash=RecordHash(digest)), seqs, hashes
)


@st.composite
def documents(draw: st.DrawFn) -> AccountDocument:
    """Return a document of the right form, whether or not it keeps the rules."""
    numbers = sorted(draw(st.sets(st.integers(0, CLIENTS_MAX - 1), max_size=5)))
    clients = []
    for number in numbers:
        final = draw(st.none() | heads)
        clients.append(
            ClientEntry(
                number=number,
                public=draw(hashes),
                added_version=draw(st.integers(0, 2**64 - 1)),
                label_epoch=draw(st.integers(0, 2**32 - 1)),
                sealed_label=draw(st.binary(min_size=200, max_size=200)),
                revoked=final is not None or draw(st.booleans()),
                final=final,
            )
        )
    ids = sorted(draw(st.sets(st.binary(min_size=16, max_size=16), max_size=4)))
    return replace(
        OWNER.first(),
        version=draw(st.integers(0, 2**32 - 1)),
        epoch=draw(st.integers(0, 4095)),
        oldest_suite=draw(st.integers(0, 255)),
        username=draw(st.from_regex(r"[a-z0-9._-]{1,32}", fullmatch=True)),
        clients=tuple(clients),
        heads=tuple((ClientId(client_id), draw(heads)) for client_id in ids),
        erased=tuple(
            Erasure(client_id=ClientId(client_id), from_seq=Seq(1), to_seq=Seq(2))
            for client_id in ids
        ),
    )


@settings(deadline=None, max_examples=60)
@given(documents())
def test_a_document_reads_as_it_was_written(document: AccountDocument) -> None:
    """Decoding gives back all that was encoded, and the same bytes."""
    signed = document.sign(OWNER.ask())

    decoded = decode_document(signed)

    assert decoded.document == document
    assert decoded.body == document.encode_body()


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=500), st.integers(0, 480))
def test_any_bytes_are_a_document_or_an_error_of_ours(data: bytes, at: int) -> None:
    """Random bytes, alone or inside a good document, raise nothing else.

    What is accepted encodes to the same bytes: there is one encoding.
    """
    good = OWNER.documents[0]
    for candidate in (
        data,
        b"AWSD\1" + data,
        good[:at] + data + good[at + len(data) :],
    ):
        try:
            signed = decode_document(candidate)
        except Error:
            continue
        assert signed.document.encode_body() == signed.body


def test_a_document_above_the_limit_is_refused_at_once() -> None:
    """The size is bounded before anything is read."""
    with pytest.raises(DocumentError, match=str(DOCUMENT_BYTES_MAX)):
        decode_document(OWNER.documents[0] + bytes(DOCUMENT_BYTES_MAX))


def test_a_list_above_its_limit_is_refused() -> None:
    """Counts are bounded by themselves."""
    erased = tuple(
        Erasure(client_id=OWNER.client_id(), from_seq=Seq(3 * n), to_seq=Seq(3 * n))
        for n in range(ERASED_MAX + 1)
    )

    with pytest.raises(DocumentError, match=f"has {ERASED_MAX + 1} entries, at most"):
        decode_document(OWNER.signed(replace(OWNER.first(), erased=erased)))


def test_the_largest_document_is_verified_in_seconds() -> None:
    """A document at its limits fits, and is checked without squares."""
    owner = Owner("large")
    client_id = owner.client_id()
    head = Head(seq=Seq(10**9), hash=RecordHash(fixed("head")))
    erased = tuple(
        Erasure(client_id=client_id, from_seq=Seq(3 * n), to_seq=Seq(3 * n))
        for n in range(ERASED_MAX)
    )
    entry = owner.first().clients[1]
    clients = (
        *owner.first().clients,
        *(
            replace(entry, number=number, public=fixed(f"{number}"), added_version=2)
            for number in range(2, CLIENTS_MAX)
        ),
    )
    owner.sign(owner.next(clients=clients, heads=((client_id, head),), erased=erased))
    before = decode_document(owner.documents[-1])
    data = owner.signed(owner.next())
    assert 2_000_000 < len(data) <= DOCUMENT_BYTES_MAX

    began = time.process_time()
    verify_next(before, decode_document(data))

    assert time.process_time() - began < 5


def test_a_newer_suite_is_named_as_such() -> None:
    """A document of a newer program asks for an update, and speaks of no attack."""
    data = OWNER.documents[0]

    with pytest.raises(UnsupportedSuiteError, match="suite 2, this program knows 1"):
        decode_document(data[:4] + b"\2" + data[5:])


def test_a_client_is_found_by_its_id() -> None:
    """A client that the document does not name does not exist."""
    document = OWNER.verified().document

    found = document.client(OWNER.client_id(1))

    assert found == document.clients[1]
    assert document.client(ClientId(bytes(16))) is None
