"""What travels over /api/1: the types of its JSON, and the frames of its records.

Both packages read and write with these, so neither can drift. A type refuses
unknown fields. Bytes are standard base64 in JSON; ids and hashes are lower-case hex
in paths and in JSON. docs/protocol/http-api.md describes each request.
"""

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from awserver.documents import DOCUMENT_BYTES_MAX, KEYS_BLOB_BYTES_MAX
from awserver.encoding import lp, u8
from awserver.errors import MalformedRecordError
from awserver.proofs import NONCE_BYTES
from awserver.records import (
    HEADER_BYTES,
    ID_BYTES,
    SEQ_MAX,
    SIGNATURE_BYTES,
    Header,
    SealedRecord,
)

API_PATH: Final = "/api/1"
PROBLEM_TYPE: Final = "application/problem+json"
BINARY_TYPE: Final = "application/octet-stream"

JSON_BYTES_MAX: Final = 64 * 1024
"""Of a request in JSON that holds no documents."""

DOCUMENTS_JSON_BYTES_MAX: Final = 24 * 1024 * 1024
"""Of a request in JSON that holds account documents, in base64."""

DOCUMENTS_MAX: Final = 4_096
"""Account documents of one request: all versions of an account."""

CHANGES_WAIT_SECONDS_MAX: Final = 50
INVITE_CHARS_MAX: Final = 64
SESSION_ID_BYTES: Final = 8
"""A session is named by the first bytes of its token's hash."""

BODY_FOLLOWS: Final = 1
"""The flag of a frame whose body is in it."""

_FLAGS_BYTES: Final = 1

# Python's "$" would let a newline follow; JSON Schema's does not.
_END: Final = r"(?!\n)$"

Hex16 = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{2 * ID_BYTES}}}{_END}")]
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}" + _END)]
SessionId = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{2 * SESSION_ID_BYTES}}}{_END}")]
Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Salt = Annotated[bytes, Meta(min_length=16, max_length=16)]
Signature = Annotated[
    bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)
]
Username = Annotated[str, Meta(pattern=r"^[a-z0-9._-]{1,32}" + _END)]
Document = Annotated[bytes, Meta(min_length=1, max_length=DOCUMENT_BYTES_MAX)]
KeysBlob = Annotated[bytes, Meta(min_length=1, max_length=KEYS_BLOB_BYTES_MAX)]
Invite = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]+" + _END, max_length=INVITE_CHARS_MAX)
]
Count = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
By = Annotated[str, Meta(pattern="^(login|recovery)" + _END)]


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every request and answer."""


# -- before a session --------------------------------------------------------


class InfoAnswer(Wire, frozen=True):
    """What a host says of itself to anyone."""

    api: int
    registration: Annotated[str, Meta(pattern="^(closed|invite|open)" + _END)]


class PreloginRequest(Wire, frozen=True):
    """Who wants to prove something."""

    username: Username


class PreloginAnswer(Wire, frozen=True):
    """The salt of the passphrase, and a nonce for one proof within a minute.

    For a name that nobody has, the salt is as stable as any other.
    """

    salt: Salt
    nonce: Nonce


class Proven(Wire, frozen=True):
    """The parts of a transcript that the host does not know itself."""

    client_id: Hex16
    nonce: Nonce
    client_nonce: Nonce


class RegisterProofs(Wire, frozen=True):
    """One signature over the transcript by each key of the new account."""

    login: Signature
    client: Signature
    signing: Signature
    # None: the newest document names no recovery key.
    recovery: Signature | None = None


class RegisterRequest(Proven, frozen=True):
    """A new account: every version of its document, and the newest keys blob."""

    username: Username
    documents: Annotated[list[Document], Meta(min_length=1, max_length=DOCUMENTS_MAX)]
    keys_blob: KeysBlob
    proofs: RegisterProofs
    invite: Invite | None = None


class SessionRequest(Proven, frozen=True):
    """A session, for whoever proves one of the account's keys."""

    username: Username
    by: Annotated[str, Meta(pattern="^(login|client|recovery)" + _END)]
    signature: Signature


class SessionAnswer(Wire, frozen=True):
    """A session's token, for `Authorization: Bearer`. It is shown once."""

    token: str
    account_id: Hex16
    # Of the newest account document.
    version: Count


# -- sessions, documents -----------------------------------------------------


class SessionInfo(Wire, frozen=True):
    """One session. Times are RFC 3339, of the full hour."""

    id: SessionId
    client_id: Hex16
    created: str
    seen: str
    current: bool


class SessionsAnswer(Wire, frozen=True):
    """Every session of the account."""

    sessions: list[SessionInfo]


class DocumentRequest(Proven, frozen=True):
    """The next version of the account document, with a fresh proof."""

    document: Document
    # None: the blob stays the one that is stored.
    keys_blob: KeysBlob | None
    by: By
    signature: Signature


class RestoreRequest(Proven, frozen=True):
    """Documents that the host lost, put back byte for byte by any client."""

    username: Username
    documents: Annotated[list[Document], Meta(min_length=1, max_length=DOCUMENTS_MAX)]
    keys_blob: KeysBlob
    signature: Signature


class VersionAnswer(Wire, frozen=True):
    """The version of the account document that is the newest now."""

    version: Count


class DeleteRequest(Proven, frozen=True):
    """The end of the account and of all it has stored, with a fresh proof."""

    by: By
    signature: Signature


# -- logs --------------------------------------------------------------------


class HeadInfo(Wire, frozen=True):
    """The newest record of a log."""

    seq: Count
    hash: Hex32


class ClientHead(Wire, frozen=True):
    """The newest record of one client's log, and what the log takes."""

    client_id: Hex16
    seq: Count
    hash: Hex32
    entries: Count
    stored_bytes: Count


class HeadsAnswer(Wire, frozen=True):
    """Every log that has records; version and entries are those of `changes`."""

    heads: list[ClientHead]
    version: Count
    entries: Count


class AppendAnswer(Wire, frozen=True):
    """Where the log ends now, and how many of the records were new."""

    head: HeadInfo
    new: Count


class ChangesAnswer(Wire, frozen=True):
    """A number of records and of documents: whatever changes, one of them grows."""

    entries: Count
    version: Count


class ClientInfo(Wire, frozen=True):
    """One client that the account document names."""

    client_id: Hex16
    number: Count
    entries: Count
    stored_bytes: Count
    # None: it has no records.
    head_seq: Count | None
    revoked: bool


class ClientsAnswer(Wire, frozen=True):
    """Every client, by number."""

    clients: list[ClientInfo]


class UsageAnswer(Wire, frozen=True):
    """What the account has stored, and may store."""

    entries: Count
    stored_bytes: Count
    # None: there is no limit but the disk.
    quota_bytes: Count | None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error (RFC 9457). Readers ignore what they do not know."""

    title: str
    status: int
    code: str
    detail: str
    type: str = "about:blank"
    # Of a conflict: what the host has, and what it got.
    expected_seq: int | None = None
    got_seq: int | None = None
    expected_version: int | None = None
    got_version: int | None = None


# -- frames ------------------------------------------------------------------


def encode_frame(record: SealedRecord) -> bytes:
    """Return flags u8 || header || signature || body, if the body is here."""
    flags = 0 if record.body is None else BODY_FOLLOWS
    return u8(flags) + record.encode()


class FrameReader:
    """Takes a stream of bytes apart into records, holding one frame at most.

    Raises `MalformedRecordError` for what is no frame, as soon as that is known:
    a header names at most 1 MiB of body, so memory is bounded.
    """

    def __init__(self) -> None:
        """Begin before the first frame."""
        self._held = bytearray()
        self._header: Header | None = None
        """Of the frame that begins what is held, once it has come."""

    def feed(self, data: bytes) -> Iterator[SealedRecord]:
        """Yield the records that are whole once `data` has come."""
        source: bytes | bytearray = data
        if self._held:
            self._held += data
            source = self._held
        at = 0
        try:
            while (frame := self._frame(source, at)) is not None:
                record, at = frame
                yield record
        finally:
            if source is self._held:
                del self._held[:at]
            else:
                self._held += source[at:]

    def end(self) -> None:
        """Raise `MalformedRecordError` if the stream ended inside a frame."""
        if self._held:
            raise MalformedRecordError(
                f"the records end inside a frame, after {len(self._held)} of its bytes"
            )

    def _frame(
        self, source: bytes | bytearray, at: int
    ) -> tuple[SealedRecord, int] | None:
        """Return the record at `at` and its end; None: not all of it has come."""
        size = len(source)
        if size - at < _FLAGS_BYTES:
            return None
        flags = source[at]
        if flags not in {0, BODY_FOLLOWS}:
            raise MalformedRecordError(f"a frame has flags {flags}, 0 or 1 is known")
        start = at + _FLAGS_BYTES
        signature = start + HEADER_BYTES
        body = end = signature + SIGNATURE_BYTES
        if size < end:
            return None
        header_bytes = bytes(source[start:signature])
        header = self._header or Header.decode(header_bytes)
        if flags == BODY_FOLLOWS:
            end += header.body_bytes
        if size < end:
            self._header = header
            return None
        self._header = None
        record = SealedRecord.of_header(
            header,
            header_bytes,
            bytes(source[signature:body]),
            bytes(source[body:end]) if flags == BODY_FOLLOWS else None,
        )
        return record, end


def encode_documents(documents: list[bytes]) -> bytes:
    """Return LP(document) of each: the answer of GET /api/1/documents."""
    return lp(*documents)


def decode_documents(data: bytes) -> list[bytes]:
    """Read what `encode_documents` made; raises `MalformedRecordError`."""
    documents = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        document = data[at + 4 : at + 4 + size]
        if len(document) != size or size > DOCUMENT_BYTES_MAX or at + 4 > len(data):
            raise MalformedRecordError("the account documents end inside one")
        documents.append(document)
        at += 4 + size
    return documents
