"""The account document, as the vault believes it.

Bytes and rules stand in `awserver.documents`: a host applies them too. Here each
failure becomes an `IntegrityError`, for whoever gave the document is at fault.
"""

import contextlib
from collections.abc import Iterator

from awserver import documents, errors
from awserver.documents import (
    CLIENTS_MAX,
    LOCAL_USERNAME,
    NO_KEY,
    SUITE,
    USERNAME,
    ZERO_HASH,
    AccountDocument,
    ClientEntry,
    Erasure,
    SignedDocument,
    hash_document,
    hash_keys_blob,
)
from awvault.errors import DocumentError, SignatureError, UnsupportedSuiteError

__all__ = [
    "CLIENTS_MAX",
    "LOCAL_USERNAME",
    "NO_KEY",
    "SUITE",
    "USERNAME",
    "ZERO_HASH",
    "AccountDocument",
    "ClientEntry",
    "Erasure",
    "SignedDocument",
    "decode_document",
    "hash_document",
    "hash_keys_blob",
    "verify_first",
    "verify_next",
]


def decode_document(data: bytes) -> SignedDocument:
    """Read a document, signatures unchecked.

    Raises `DocumentError` for any but the one encoding, and
    `UnsupportedSuiteError` for a document of a newer program.
    """
    with _blamed():
        return SignedDocument.decode(data)


def verify_first(signed: SignedDocument) -> None:
    """Believe version 1, or raise: the account id certifies its signing key.

    Raises `DocumentError`, `SignatureError` or `UnsupportedSuiteError`.
    """
    with _blamed():
        documents.verify_first(signed)


def verify_next(before: SignedDocument, signed: SignedDocument) -> None:
    """Believe the version after `before`, or raise; nothing is changed.

    Raises `DocumentError`, `SignatureError` or `UnsupportedSuiteError`.
    """
    with _blamed():
        documents.verify_next(before, signed)


@contextlib.contextmanager
def _blamed() -> Iterator[None]:
    """Turn what breaks a rule into what the vault calls it."""
    try:
        yield
    except errors.SuiteUnknownError as error:
        raise UnsupportedSuiteError(f"{error}: update this client") from None
    except errors.SignatureInvalidError as error:
        raise SignatureError(f"account document: {error}") from None
    except errors.DocumentInvalidError as error:
        raise DocumentError(str(error)) from None
