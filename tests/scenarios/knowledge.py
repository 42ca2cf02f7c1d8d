"""All that a host can know of an account, taken from its tables and its traffic.

Everything that the host stores or is sent becomes an `Observation`: where it was
seen, of which fact of the list in docs/threat-model.md it tells, and what it says.
What is random or sealed says how long it is, and nothing else. A column, header,
field or parameter that is not on a list here raises `UnknownPlaceError`: nobody
has decided what it tells.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import apsw

from awserver.documents import SignedDocument
from awserver.records import AccountId, Header
from awserver.wire import FrameReader, decode_documents


class Fact(StrEnum):
    """What a host learns; the words are those of docs/threat-model.md."""

    ACCOUNTS = "accounts"
    CLIENTS = "clients"
    SESSIONS = "sessions"
    ENTRIES = "entries"
    SIZES = "padded sizes"
    TIMES = "times of requests"
    ADDRESSES = "addresses"
    NOTHING = "nothing"
    """The same for every user of this version of the program."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that was seen."""

    place: str
    fact: Fact
    says: object


class UnknownPlaceError(AssertionError):
    """The host sees something of which nobody has said what it tells."""


Reader = Callable[[Any], Any]


def _length(value: Any) -> object:
    return None if value is None else f"{len(value)} long"


def _itself(value: Any) -> Any:
    return value


def _hidden(_: Any) -> str:
    return ""


# -- tables ------------------------------------------------------------------

# Of each column: the fact, and what of the value two users are compared by. Names,
# times and addresses tell what they tell, and may differ: of those, nothing.
COLUMNS: Final[Mapping[tuple[str, str], tuple[Fact, Reader]]] = {
    ("accounts", "account_id"): (Fact.ACCOUNTS, _length),
    ("accounts", "standing"): (Fact.ACCOUNTS, _itself),
    ("accounts", "quota_bytes"): (Fact.ACCOUNTS, _itself),
    ("usernames", "username"): (Fact.ACCOUNTS, _hidden),
    ("usernames", "account_id"): (Fact.ACCOUNTS, _length),
    ("documents", "account_id"): (Fact.ACCOUNTS, _length),
    ("documents", "version"): (Fact.ACCOUNTS, _itself),
    ("documents", "hash"): (Fact.ACCOUNTS, _length),
    ("keys_blobs", "account_id"): (Fact.ACCOUNTS, _length),
    ("keys_blobs", "blob"): (Fact.ACCOUNTS, _length),
    ("sessions", "account_id"): (Fact.ACCOUNTS, _length),
    ("sessions", "token_hash"): (Fact.SESSIONS, _length),
    ("sessions", "client_id"): (Fact.CLIENTS, _length),
    ("sessions", "created_hour"): (Fact.TIMES, _hidden),
    ("sessions", "seen_hour"): (Fact.TIMES, _hidden),
    ("used_nonces", "account_id"): (Fact.ACCOUNTS, _length),
    ("used_nonces", "nonce"): (Fact.TIMES, _length),
    ("records", "account_id"): (Fact.ACCOUNTS, _length),
    ("records", "client_id"): (Fact.CLIENTS, _length),
    ("records", "seq"): (Fact.ENTRIES, _itself),
    ("records", "hash"): (Fact.ENTRIES, _length),
    ("records", "signature"): (Fact.ENTRIES, _length),
    ("bodies", "account_id"): (Fact.ACCOUNTS, _length),
    ("bodies", "client_id"): (Fact.CLIENTS, _length),
    ("bodies", "seq"): (Fact.ENTRIES, _itself),
    ("bodies", "body"): (Fact.SIZES, len),
    ("usage", "account_id"): (Fact.ACCOUNTS, _length),
    ("usage", "entries"): (Fact.ENTRIES, _itself),
    ("usage", "bytes"): (Fact.SIZES, _itself),
    ("log_usage", "account_id"): (Fact.ACCOUNTS, _length),
    ("log_usage", "client_id"): (Fact.CLIENTS, _length),
    ("log_usage", "bytes"): (Fact.SIZES, _itself),
    ("erasures", "account_id"): (Fact.ACCOUNTS, _length),
    ("erasures", "client_id"): (Fact.CLIENTS, _length),
    ("erasures", "from_seq"): (Fact.ENTRIES, _itself),
    ("erasures", "to_seq"): (Fact.ENTRIES, _itself),
    ("deletions", "account_id"): (Fact.ACCOUNTS, _length),
}

OF_NO_ACCOUNT: Final = frozenset({"schema_migrations", "invites", "host_secret"})
"""Tables of the host itself."""


def in_tables(database: Path, account: AccountId) -> list[Observation]:
    """Return all that the host's database says of an account."""
    found: list[Observation] = []
    connection = apsw.Connection(str(database), apsw.SQLITE_OPEN_READONLY)
    with connection:
        tables = [
            str(name)
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table'"
                " AND name NOT LIKE 'sqlite%' ORDER BY name"
            )
        ]
        for table in tables:
            if table in OF_NO_ACCOUNT:
                continue
            rows = connection.execute(
                f"SELECT * FROM {table} WHERE account_id = ?",
                (account,),
            )
            for row in rows:
                columns = [name for name, *_ in rows.get_description()]
                found += _row(table, dict(zip(columns, row, strict=True)))
    connection.close()
    return sorted(found, key=repr)


def _row(table: str, row: dict[str, Any]) -> Iterator[Observation]:
    for column, value in row.items():
        place = f"{table}.{column}"
        if place == "records.header":
            yield from _header(place, Header.decode(value))
        elif place == "documents.document":
            yield from _document(place, value)
        elif (table, column) in COLUMNS:
            fact, reader = COLUMNS[table, column]
            yield Observation(place, fact, reader(value))
        else:
            raise UnknownPlaceError(f"the column {place}")


def _header(place: str, header: Header) -> Iterator[Observation]:
    """A header of a fixed form: what is not here is random, or hashed from that."""
    yield Observation(f"{place} epoch", Fact.ACCOUNTS, header.epoch)
    yield Observation(f"{place} seq", Fact.ENTRIES, header.seq)
    yield Observation(f"{place} body_bytes", Fact.SIZES, header.body_bytes)


def _document(place: str, data: bytes) -> Iterator[Observation]:
    document = SignedDocument.decode(data).document
    yield Observation(f"{place} version", Fact.ACCOUNTS, document.version)
    yield Observation(f"{place} epoch", Fact.ACCOUNTS, document.epoch)
    yield Observation(f"{place} suite", Fact.NOTHING, document.oldest_suite)
    yield Observation(
        f"{place} size", Fact.ACCOUNTS, len(data) - len(document.username)
    )
    for client in document.clients:
        yield Observation(
            f"{place} client",
            Fact.CLIENTS,
            (
                client.number,
                client.added_version,
                client.label_epoch,
                len(client.sealed_label),
                client.revoked,
            ),
        )
    for _, head in document.heads:
        yield Observation(f"{place} head", Fact.ENTRIES, head.seq)
    for erased in document.erased:
        yield Observation(
            f"{place} erased", Fact.ENTRIES, (erased.from_seq, erased.to_seq)
        )


# -- traffic -----------------------------------------------------------------

HEADERS: Final[Mapping[str, tuple[Fact, Reader]]] = {
    "host": (Fact.ADDRESSES, _hidden),
    "authorization": (Fact.SESSIONS, _length),
    "content-length": (Fact.SIZES, _itself),
    "date": (Fact.TIMES, _hidden),
    "retry-after": (Fact.TIMES, _hidden),
    "accept-encoding": (Fact.NOTHING, _itself),
    "cache-control": (Fact.NOTHING, _itself),
    "connection": (Fact.NOTHING, _itself),
    "content-type": (Fact.NOTHING, _itself),
    "server": (Fact.NOTHING, _itself),
    "transfer-encoding": (Fact.NOTHING, _itself),
    "vary": (Fact.NOTHING, _itself),
    "x-content-type-options": (Fact.NOTHING, _itself),
    "content-security-policy": (Fact.NOTHING, _itself),
    "cross-origin-resource-policy": (Fact.NOTHING, _itself),
    "referrer-policy": (Fact.NOTHING, _itself),
}

FIELDS: Final[Mapping[str, tuple[Fact, Reader]]] = {
    "username": (Fact.ACCOUNTS, _hidden),
    "account_id": (Fact.ACCOUNTS, _length),
    "version": (Fact.ACCOUNTS, _itself),
    "document": (Fact.ACCOUNTS, _hidden),  # looked into below
    "documents": (Fact.ACCOUNTS, _hidden),
    "keys_blob": (Fact.ACCOUNTS, _length),
    "salt": (Fact.ACCOUNTS, _length),
    "signature": (Fact.ACCOUNTS, _length),
    "login": (Fact.ACCOUNTS, _length),
    "recovery": (Fact.ACCOUNTS, _length),
    "signing": (Fact.ACCOUNTS, _length),
    "invite": (Fact.ACCOUNTS, _length),
    "client": (Fact.CLIENTS, _length),
    "client_id": (Fact.CLIENTS, _length),
    "by": (Fact.SESSIONS, _itself),
    "nonce": (Fact.SESSIONS, _length),
    "client_nonce": (Fact.SESSIONS, _length),
    "token": (Fact.SESSIONS, _length),
    "seq": (Fact.ENTRIES, _itself),
    "hash": (Fact.ENTRIES, _length),
    "new": (Fact.ENTRIES, _itself),
    "entries": (Fact.ENTRIES, _itself),
    "stored_bytes": (Fact.SIZES, _itself),
    "quota_bytes": (Fact.ACCOUNTS, _itself),
    "registration": (Fact.NOTHING, _itself),
    "api": (Fact.NOTHING, _itself),
}

PARAMETERS: Final[Mapping[str, Fact]] = {
    "after": Fact.ENTRIES,
    "entries": Fact.ENTRIES,
    "version": Fact.ACCOUNTS,
    "wait": Fact.NOTHING,
    "max_bytes": Fact.NOTHING,
    "bodies": Fact.NOTHING,
}

_GROUPS: Final = frozenset({"proofs", "head", "heads", "sessions", "clients"})
"""Fields that hold other fields."""

_HEX_ID: Final = re.compile(r"/[0-9a-f]{32}(?=/|$)")


@dataclass(frozen=True, slots=True)
class Message:
    """One request or answer."""

    first_line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


def in_traffic(up: bytes, down: bytes) -> list[Observation]:
    """Return all that the requests of one connection say, and their answers."""
    found: list[Observation] = []
    requests, answers = list(messages(up)), list(messages(down))
    assert len(requests) == len(answers), "the traffic was cut inside an exchange"
    for request, answer in zip(requests, answers, strict=True):
        method, target, protocol = request.first_line.split(" ")
        parts = urlsplit(target)
        path = _HEX_ID.sub("/{client}", parts.path)
        where = f"{method} {path}"
        found.append(Observation(where, Fact.TIMES, protocol))
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in PARAMETERS:
                raise UnknownPlaceError(f"the parameter {name!r} of {where}")
            found.append(Observation(f"{where} ?{name}", PARAMETERS[name], value))
        found += _message(where, request)
        found.append(Observation(f"{where} answer", Fact.NOTHING, answer.first_line))
        found += _message(f"{where} answer", answer)
    return found


def _message(where: str, message: Message) -> Iterator[Observation]:
    for name, value in message.headers:
        if name not in HEADERS:
            raise UnknownPlaceError(f"the header {name!r} of {where}")
        fact, reader = HEADERS[name]
        yield Observation(f"{where} header {name}", fact, reader(value))
    if not message.body:
        return
    match message.header("content-type"):
        case "application/json":
            yield from _fields(where, json.loads(message.body))
        case "application/octet-stream" if where.endswith("/keys answer"):
            yield Observation(where, Fact.ACCOUNTS, len(message.body))
        case "application/octet-stream" if "/documents" in where:
            for document in decode_documents(message.body):
                yield from _document(where, document)
        case "application/octet-stream":
            reader_ = FrameReader()
            for record in reader_.feed(message.body):
                yield from _header(where, record.header)
                yield Observation(where, Fact.NOTHING, record.body is None)
            reader_.end()
        case other:
            raise UnknownPlaceError(f"a body of type {other!r} of {where}")


def _fields(where: str, value: Any) -> Iterator[Observation]:
    if isinstance(value, list):
        for item in value:
            yield from _fields(where, item)
        return
    assert isinstance(value, dict), where
    for name, inner in value.items():
        place = f"{where} {name}"
        if name in _GROUPS:
            yield from _fields(place, inner)
        elif name in FIELDS:
            fact, reader = FIELDS[name]
            yield Observation(place, fact, reader(inner))
        else:
            raise UnknownPlaceError(f"the field {name!r} of {where}")


def messages(data: bytes) -> Iterator[Message]:
    """Take one way of an HTTP/1.1 connection apart."""
    while data:
        head, blank, data = data.partition(b"\r\n\r\n")
        assert blank, "the traffic was cut inside a header"
        first_line, *lines = head.decode("ascii").split("\r\n")
        headers = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        fields = dict(headers)
        if fields.get("transfer-encoding") == "chunked":
            body, data = _chunks(data)
        else:
            size = int(fields.get("content-length", "0"))
            body, data = data[:size], data[size:]
            assert len(body) == size, "the traffic was cut inside a body"
        yield Message(first_line, headers, body)


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        body += data[:size]
        data = data[size + 2 :]
        if not size:
            return body, data
