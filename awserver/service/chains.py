"""The rules of account documents, applied by the host to what it is offered.

A host applies all of them, so that a faulty client locks nobody out of an account.
"""

from collections.abc import Mapping, Sequence

from awserver.documents import (
    CHAIN_BYTES_MAX,
    hash_keys_blob,
    verify_first,
    verify_next,
)
from awserver.errors import (
    DocumentConflictError,
    DocumentInvalidError,
    LimitExceededError,
    NotSupportedError,
)
from awserver.records import ClientId, RecordHash, Seq
from awserver.service.known import KnownDocument
from awserver.storage.base import EndedSessions, NewDocument


def read_chain(
    before: KnownDocument | None, documents: Sequence[bytes]
) -> list[KnownDocument]:
    """Verify versions that follow `before`, or begin an account; return them.

    Raises `DocumentConflictError` where they do not begin with the next version,
    `DocumentInvalidError`, `SuiteUnknownError`, `SignatureInvalidError`. It takes
    some 0.2 ms a version: run many in a thread.
    """
    expected = 1 if before is None else before.version + 1
    chain: list[KnownDocument] = []
    for data in documents:
        known = KnownDocument.read(data)
        if not chain and known.version != expected:
            raise DocumentConflictError(
                expected_version=expected, got_version=known.version
            )
        if before is None:
            verify_first(known.signed)
        else:
            verify_next(before.signed, known.signed)
        before = known
        chain.append(known)
    return chain


def check_blob(newest: KnownDocument, keys_blob: bytes) -> None:
    """Raise `DocumentInvalidError` unless it is the blob that the document names."""
    if hash_keys_blob(keys_blob) != newest.signed.document.keys_blob_hash:
        raise DocumentInvalidError("the keys blob is not the one the document names")


def check_kept(before: KnownDocument | None, chain: Sequence[KnownDocument]) -> None:
    """Refuse what this version cannot do: erase. Raises `NotSupportedError`."""
    erased = () if before is None else before.signed.document.erased
    for known in chain:
        if tuple(known.signed.document.erased) != tuple(erased):
            raise NotSupportedError(
                "this version of the host does not forget records on request"
            )


def new_places(
    before: KnownDocument | None, newest: KnownDocument
) -> Mapping[tuple[ClientId, Seq], RecordHash]:
    """Return the records whose hash `newest` names, and `before` did not."""
    old = {} if before is None else before.places
    return {place: hash_ for place, hash_ in newest.places.items() if place not in old}


def ended_sessions(
    before: KnownDocument, chain: Sequence[KnownDocument]
) -> EndedSessions:
    """Return whose sessions end with these versions."""
    newest = chain[-1] if chain else before
    ended_before = {client for client, entry in before.clients.items() if entry.revoked}
    ended = {client for client, entry in newest.clients.items() if entry.revoked}
    return EndedSessions(
        everyone=newest.signed.document.epoch > before.signed.document.epoch,
        clients=frozenset(ended - ended_before),
    )


def to_store(chain: Sequence[KnownDocument]) -> list[NewDocument]:
    """Return verified versions as they are stored."""
    return [
        NewDocument(version=one.version, document=one.data, hash=one.signed.hash)
        for one in chain
    ]


def require_chain_bytes(documents: Sequence[bytes]) -> None:
    """Raise `LimitExceededError` for more documents than one request may have."""
    total = sum(len(document) for document in documents)
    if total > CHAIN_BYTES_MAX:
        raise LimitExceededError(
            f"the account documents have {total} bytes, at most {CHAIN_BYTES_MAX}"
            " are taken"
        )
