"""Reads a data directory with the passphrase: docs/protocol, and nothing else.

Written from those pages, to show that they are enough. No module beside this
one imports anything of the program (a test checks that), and the libraries are
others than the program's.
"""

import shutil
import sqlite3  # noqa: TID251 - of a copy that nothing else has open
import tempfile
from collections.abc import Container, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.independent_reader import account, logs, payload
from tests.independent_reader.payload import Bucket, Row
from tests.independent_reader.primitives import (
    AlteredError,
    Costs,
    NewerError,
    PayloadError,
    WrongPassphraseError,
    derived,
    hashed,
    opened_row,
)

TABLES = {"host": {1, 2}, "vault": {1, 2, 3}}


@dataclass
class Reading:
    """All that a data directory says."""

    account_id: bytes
    client_id: bytes
    number: int
    """That of the client whose directory it is."""
    labels: dict[int, str]
    """What each client is called; no two are called alike."""
    username: str
    records: int = 0
    together: list[set[int]] = field(default_factory=list)
    """Of each record, the buckets that it holds anything of."""
    index_rows: int = 0
    journal_rows: int = 0
    kinds: set[int] = field(default_factory=set)
    """Kinds of journal rows that were there."""
    boots: int = 0
    """Starts of the program that have journal rows."""
    rows: list[tuple[int, Row]] = field(default_factory=list)
    """(number of the writer, row): every revision of every event."""
    versions: list[tuple[int, Bucket]] = field(default_factory=list)
    """(number of the writer, version): every version of every bucket."""
    problems: list[str] = field(default_factory=list)

    def buckets(self) -> dict[str, Bucket]:
        """Return the buckets that are shown, by the name that each has here."""
        newest: dict[int, tuple[int, int, Bucket]] = {}
        for writer, version in self.versions:
            rank = (version.revision, writer, version)
            if _counts(version.bucket_id, rank) and (
                version.bucket_id not in newest or newest[version.bucket_id] < rank
            ):
                newest[version.bucket_id] = rank
        visible: dict[tuple[str, int], Bucket] = {}
        for bucket_id, (_, _, version) in sorted(newest.items()):
            if not version.hidden:
                visible[version.name, bucket_id >> 40] = version
        names = [name for name, _ in visible]
        shown = {
            name: version
            for (name, owner), version in visible.items()
            if owner == self.number or names.count(name) == 1
        }
        others = [
            (version.bucket_id, name, owner)
            for (name, owner), version in visible.items()
            if owner != self.number and names.count(name) > 1
        ]
        for _, name, owner in sorted(others):
            label = "".join(
                each if each.isalnum() or each in "._-" else "-"
                for each in self.labels[owner]
            )
            full = _distinct(f"{name}-synced-from-{label}", shown)
            shown[full] = visible[name, owner]
        return shown

    def events(self, name: str) -> list[Row]:
        """Return the events of a bucket, newest first."""
        bucket_id = self.buckets()[name].bucket_id
        newest: dict[int, tuple[int, int, Row]] = {}
        for writer, row in self.rows:
            rank = (row.revision, writer, row)
            if _counts(row.id, rank) and (
                row.id not in newest or newest[row.id] < rank
            ):
                newest[row.id] = rank
        shown = [
            row
            for _, _, row in newest.values()
            if row.bucket_id == bucket_id and not row.flags & payload.DELETED
        ]
        return sorted(shown, key=lambda row: (-row.start, row.id))


def _counts(number: int, rank: tuple[int, int, object]) -> bool:
    """Say whether what was written outranks what its owner may have written."""
    return rank[:2] >= (0, number >> 40)


def _distinct(text: str, taken: Container[str]) -> str:
    found, number = text, 1
    while found in taken:
        number += 1
        found = f"{text}-{number}"
    return found


def read_directory(
    directory: Path, passphrase: str, costs: Costs | None = None
) -> Reading:
    """Return what is in a data directory that no program has open.

    Raises where documents or keys are not in order; what is wrong further in
    stands in `problems`.
    """
    with tempfile.TemporaryDirectory() as copies:
        for name in ("vault.db", "vault.db-wal"):
            if (directory / name).exists():
                shutil.copy(directory / name, copies)
        with closing(sqlite3.connect(Path(copies) / "vault.db")) as database:
            return _read(database, passphrase, costs or Costs())


def _read(database: sqlite3.Connection, passphrase: str, costs: Costs) -> Reading:
    for component, number in database.execute("SELECT * FROM schema_migrations"):
        if number not in TABLES.get(component, set()):
            raise NewerError(f"the tables of {component} are at {number}")
    ((account_id, client_id, keystore_sealed, unlock_version, unlock_blob),) = (
        database.execute(
            "SELECT account_id, client_id, keystore, unlock_version, unlock_blob"
            " FROM vault"
        ).fetchall()
    )
    documents = database.execute(
        "SELECT document FROM documents WHERE account_id = ? ORDER BY version",
        (account_id,),
    ).fetchall()
    ((blob,),) = database.execute(
        "SELECT blob FROM keys_blobs WHERE account_id = ?", (account_id,)
    ).fetchall()
    chain = account.verified(account_id, [document for (document,) in documents])
    account.need(
        hashed("keys-blob", blob) == chain[-1].keys_blob_hash,
        "the keys blob is another one than the newest document names",
    )
    opened, ring = _opened(
        [
            (chain[(unlock_version or len(chain)) - 1], unlock_blob or blob),
            (chain[-1], blob),
        ],
        passphrase,
        costs,
    )
    chain = [document for document in chain if document.epoch <= opened.epoch]
    document = chain[-1]
    keystore = account.keystore_of(
        ring[document.epoch], account_id, client_id, keystore_sealed
    )
    account.check_pin(chain, keystore.pin)
    own = [client for client in document.clients if client.id == client_id]
    account.need(
        [client.number for client in own] == [keystore.number],
        "the document does not name the client of the keystore",
    )
    labels: dict[int, str] = {}
    for client in document.clients:
        label = account.label_of(
            ring[client.label_epoch], account_id, client.id, client.label
        )
        labels[client.number] = _distinct(label, labels.values())
    reading = Reading(
        account_id=account_id,
        client_id=client_id,
        number=keystore.number,
        labels=labels,
        username=document.username,
    )
    index_key = derived(keystore.journal_key, "index")
    for client in document.clients:
        _read_log(database, reading, document, client, ring, index_key)
    _check_strangers(database, reading, document)
    _read_journal(database, reading, keystore)
    return reading


def _opened(
    unlocks: Sequence[tuple[account.Document, bytes]], passphrase: str, costs: Costs
) -> tuple[account.Document, dict[int, bytes]]:
    """Open what unlocks here, or else the newest."""
    for document, blob in unlocks[:-1]:
        with suppress(WrongPassphraseError):
            return document, account.ring_of(document, blob, passphrase, costs)
    document, blob = unlocks[-1]
    return document, account.ring_of(document, blob, passphrase, costs)


def _read_log(
    database: sqlite3.Connection,
    reading: Reading,
    document: account.Document,
    client: account.Client,
    ring: dict[int, bytes],
    index_key: bytes,
) -> None:
    stored = database.execute(
        "SELECT r.seq, r.header, r.signature, b.body FROM records AS r"
        " LEFT JOIN bodies AS b USING (account_id, client_id, seq)"
        " WHERE r.account_id = ? AND r.client_id = ? ORDER BY r.seq",
        (document.account_id, client.id),
    )
    log = logs.Log.of(document, client, ring)
    try:
        for seq, header, signature, body in stored:
            account.need(seq == log.next_seq, f"record {log.next_seq} is missing")
            record = log.accept(header, signature, body)
            reading.records += 1
            if record.plaintext is None:
                continue
            try:
                said = payload.decoded(
                    payload.unpacked(logs.unpadded(record.plaintext))
                )
            except (PayloadError, NewerError) as error:
                reading.problems.append(f"record {record.seq} is unreadable: {error}")
                continue
            reading.rows += [(client.number, row) for row in said.rows]
            reading.versions += [(client.number, version) for version in said.buckets]
            held = {row.bucket_id for row in said.rows}
            reading.together.append(held | {item.bucket_id for item in said.buckets})
            _check_index(database, reading, client, record, said, index_key)
    except (AlteredError, NewerError) as error:
        reading.problems.append(str(error))


def _check_index(
    database: sqlite3.Connection,
    reading: Reading,
    client: account.Client,
    record: logs.Accepted,
    said: payload.Payload,
    index_key: bytes,
) -> None:
    """A cache: what is wrong with it is told, and nothing else comes of it."""
    for (sealed,) in database.execute(
        "SELECT sealed FROM index_rows WHERE client_id = ? AND seq = ?",
        (client.id, record.seq),
    ):
        what = f"the index row of record {record.seq}"
        try:
            plaintext = opened_row(index_key, record.hash, sealed, what)
        except AlteredError as error:
            reading.problems.append(str(error))
            continue
        reading.index_rows += 1
        if payload.from_msgpack(plaintext) != payload.index_row_of(said, client.number):
            reading.problems.append(f"{what} does not fit")


def _check_strangers(
    database: sqlite3.Connection, reading: Reading, document: account.Document
) -> None:
    known = {(document.account_id, client.id) for client in document.clients}
    for place in database.execute("SELECT DISTINCT account_id, client_id FROM records"):
        if place not in known:
            reading.problems.append(f"no document names client {place[1].hex()}")


def _read_journal(
    database: sqlite3.Connection, reading: Reading, keystore: account.Keystore
) -> None:
    keys = {
        boot: derived(keystore.journal_key, "journal", random)
        for boot, random in database.execute("SELECT boot, random FROM boots")
    }
    rows: Sequence[tuple[int, int, int, bytes]] = database.execute(
        "SELECT jid, boot, write, sealed FROM journal ORDER BY jid"
    ).fetchall()
    reading.boots = len({boot for _, boot, _, _ in rows})
    for jid, boot, write, sealed in rows:
        what = f"row {jid} of the journal"
        if boot not in keys:
            reading.problems.append(f"{what} names a start that is not there")
            continue
        context = (
            reading.client_id + jid.to_bytes(8, "little") + write.to_bytes(8, "little")
        )
        try:
            plaintext = opened_row(keys[boot], context, sealed, what)
            said = payload.journal_row(plaintext)
        except (AlteredError, PayloadError, NewerError) as error:
            reading.problems.append(str(error))
            continue
        reading.journal_rows += 1
        reading.kinds.add(plaintext[0])
        if isinstance(said, Bucket):
            reading.versions.append((keystore.number, said))
        else:
            reading.rows += [(keystore.number, row) for row in said]
