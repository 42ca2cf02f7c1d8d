"""T44: another implementation, written from docs/protocol, opens a data directory.

If it shows exactly what the program shows, the pages say all there is to say,
and the program does what the pages say.
"""

import ast
import asyncio
import json
import shutil
import sqlite3  # noqa: TID251 - of a copy that nothing else has open
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import pytest

from awvault.testing import CHEAP, PASSPHRASE, open_vault
from awvault.vault import Vault
from tests.helpers.processes import Home, Root, home
from tests.helpers.vaults import A, B, beat, bucket, correct, insert, us
from tests.independent_reader import primitives
from tests.independent_reader.blake2b import blake2b as blake2b_of_the_reader
from tests.independent_reader.primitives import (
    AlteredError,
    Costs,
    ReaderError,
    WrongPassphraseError,
)
from tests.independent_reader.reader import Reading, read_directory

READER: Final = Path(primitives.__file__).parent
COSTS: Final = Costs(memory_kib=CHEAP.memory_kib, passes=CHEAP.passes)

Event = tuple[int, int, int, int, int, int, bytes]
"""id, revision, start, duration, stored_at, flags, text; as the program has them."""

ODD_TEXTS: Final = (
    '{"title":"Łódź 東京 🜚"}'.encode(),
    rb'{"title":"half \ud83d","\udc00":1}',
    b'{"n":123456789012345678901234567890,"x":-0.0005}',
    b'{"nested":{"b":[1,{"a":null}],"a":true}}',
    b"{}",
)


@dataclass(frozen=True)
class Shown:
    """What the program showed before it ended."""

    directory: Path
    buckets: dict[str, dict[str, Any]]
    events: dict[str, list[Event]]
    records: int
    journal_rows: int
    client_id: bytes
    account_id: bytes


def shown_by(vault: Vault, directory: Path) -> Shown:
    buckets, events = {}, {}
    for name, found in vault.buckets().items():
        buckets[name] = {
            "type": found.type,
            "client": found.client,
            "hostname": found.hostname,
            "created_us": round(found.created.timestamp() * 1_000_000),
            "data": found.data,
        }
        table = vault.read(name, order="newest")
        columns = [
            column.tolist()
            for column in (
                table.id,
                table.revision,
                table.start,
                table.duration,
                table.stored_at,
                table.flags,
            )
        ]
        texts = [table.texts[at] for at in table.data.tolist()]
        events[name] = list(zip(*columns, texts, strict=True))
    facts = vault.facts()
    return Shown(
        directory=directory,
        buckets=buckets,
        events=events,
        records=facts.records,
        journal_rows=facts.journal_rows,
        client_id=bytes.fromhex(facts.client_id),
        account_id=bytes.fromhex(facts.account_id),
    )


async def _first_life(directory: Path) -> None:
    """Leave several records, and a journal with rows of its own."""
    async with await open_vault(directory) as vault:
        for name, kind in (
            ("window", "currentwindow"),
            ("web", "web.tab.current"),
            ("activity_test", "test"),
            ("again", "test"),
            ("odd", "test"),
        ):
            await bucket(vault, name, kind)
        await vault.create_bucket(
            "ünï-ködé",
            type="ťype",
            client="wätcher",
            hostname="höst",
            data='{"note":"ñ","n":[1,2.5]}'.encode(),
            created_us=us(-5),
        )
        sealed = await insert(vault, *((n, 0.5, A) for n in range(40)), name="window")
        await insert(vault, (1, 2, B), (9, 0, A), name="web")
        await insert(vault, (-1e9, -1, A), (5, -1, B), (7, 3, A), name="activity_test")
        await insert(vault, (1, 1, A), (2, 1, A), name="again")
        await insert(
            vault,
            *((3, n * 1e-6, text) for n, text in enumerate(ODD_TEXTS)),
            name="odd",
        )
        await beat(vault, 100, 2, A, name="ünï-ködé")
        await beat(vault, 200, 2, B, name="ünï-ködé")
        assert await vault.seal_now() >= 2
        await correct(vault, sealed[3], 3, 9.25, ODD_TEXTS[0], name="window")
        await correct(vault, sealed[3], 3.5, 9.5, ODD_TEXTS[1], name="window")
        assert await vault.delete_event("window", sealed[4])
        extended = await beat(vault, 42, 0, A, name="window")
        assert (extended.id, extended.revision) == (sealed[-1], 1)
        assert await vault.seal_now() >= 1
        await vault.hide_bucket("again")
        await bucket(vault, "again", "other")
        await insert(vault, (77, 1, B), name="again")


async def _second_life(directory: Path) -> Shown:
    """Add rows of every kind under another key, and tell what there is."""
    async with await open_vault(directory) as vault:
        await bucket(vault, "late", "test")
        many = await insert(
            vault, *((n % 7, 1, ODD_TEXTS[n % 5]) for n in range(50)), name="late"
        )
        await correct(vault, many[8], 6, 0, B, name="late")
        assert await vault.delete_event("late", many[9])
        await insert(vault, (300, -1, A), name="activity_test")
        await beat(vault, 400, 1, A, name="ünï-ködé")
        await beat(vault, 402, 1, A, name="ünï-ködé")
        return shown_by(vault, directory)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    directory = tmp_path_factory.mktemp("t44") / "data"
    asyncio.run(_first_life(directory))
    return asyncio.run(_second_life(directory))


@pytest.fixture(scope="module")
def reading(shown: Shown) -> Reading:
    return read_directory(shown.directory, PASSPHRASE, COSTS)


def events_of(reading: Reading, name: str) -> list[Event]:
    return [
        (e.id, e.revision, e.start, e.duration, e.stored_at, e.flags, e.text)
        for e in reading.events(name)
    ]


def test_every_event_is_read(shown: Shown) -> None:
    """The reader shows the events of each bucket as the program does, in its order."""
    reading = read_directory(shown.directory, PASSPHRASE, COSTS)

    assert reading.problems == []
    assert {name: events_of(reading, name) for name in shown.events} == shown.events


def test_every_bucket_is_read(shown: Shown, reading: Reading) -> None:
    """The reader shows the buckets that the program shows, with all their fields."""
    read = {
        name: {
            "type": found.type,
            "client": found.client,
            "hostname": found.hostname,
            "created_us": found.created_us,
            "data": json.loads(found.data),
        }
        for name, found in reading.buckets().items()
    }

    assert read == shown.buckets


def test_the_directory_holds_what_it_should(shown: Shown, reading: Reading) -> None:
    """Records, rows of every kind of two starts, and all that makes a view hard."""
    events = [event for name in shown.events for event in shown.events[name]]

    assert reading.records == reading.index_rows == shown.records > 2
    assert reading.journal_rows == shown.journal_rows
    assert reading.kinds == {1, 2, 3}
    assert reading.boots == 2
    assert any(event[1] == 2 for event in events), "no event was corrected twice"
    assert any(event[3] == -1 for event in events), "no event is without an end"
    assert any(event[4] > 0 for event in events), "no event keeps stored_at"
    assert any(row.flags & 1 for _, row in reading.rows), "no event was deleted"
    assert any(version.hidden for _, version in reading.versions)
    assert sum(version.name == "again" for _, version in reading.versions) == 3
    assert set(ODD_TEXTS) <= {event[6] for event in events}


def test_web_tabs_lie_in_records_of_their_own(reading: Reading) -> None:
    """No record holds a web bucket beside another one."""
    web = reading.buckets()["web"].bucket_id

    assert {web} in reading.together
    assert [ids for ids in reading.together if web in ids and ids != {web}] == []


def test_the_account_is_read(shown: Shown, reading: Reading) -> None:
    """Account, client and the client's sealed label are those of the program."""
    assert reading.account_id == shown.account_id
    assert reading.client_id == shown.client_id
    assert reading.username == "local"
    assert reading.labels[reading.number]


# -- what must fail ----------------------------------------------------------


def test_another_passphrase_fails_at_the_slot(shown: Shown) -> None:
    """A wrong passphrase is told from damage."""
    with pytest.raises(WrongPassphraseError):
        read_directory(shown.directory, PASSPHRASE + " ", COSTS)


def test_another_cost_of_argon2_is_another_passphrase(shown: Shown) -> None:
    """Nothing that is stored says what Argon2 costs."""
    with pytest.raises(WrongPassphraseError):
        read_directory(
            shown.directory, PASSPHRASE, Costs(CHEAP.memory_kib, CHEAP.passes + 1)
        )


SEALED: Final = {
    "account document": "SELECT rowid, document FROM documents",
    "keys blob": "SELECT rowid, blob FROM keys_blobs",
    "what unlocks": "SELECT one, unlock_blob FROM vault",
    "keystore": "SELECT one, keystore FROM vault",
    "record header": "SELECT seq, header FROM records ORDER BY seq DESC",
    "record signature": "SELECT seq, signature FROM records ORDER BY seq DESC",
    "record body": "SELECT rowid, body FROM bodies",
    "journal row": "SELECT jid, sealed FROM journal",
    "start": "SELECT boot, random FROM boots",
    "index row": "SELECT seq, sealed FROM index_rows",
}


@pytest.mark.parametrize("name", SEALED)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.99])
def test_a_flipped_bit_is_found(
    shown: Shown, tmp_path: Path, name: str, place: float
) -> None:
    """Wherever a bit of what is sealed or signed changes, the reader says so."""
    query = SEALED[name]
    _, column, table = (
        word.strip(",") for word in query.split()[1:5] if word != "FROM"
    )
    key = query.split()[1].strip(",")

    def flip(database: sqlite3.Connection) -> None:
        row, value = database.execute(query).fetchone()
        at = int(place * len(value))
        flipped = value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1 :]
        database.execute(
            f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (flipped, row)
        )

    _expect_noticed(shown, tmp_path, flip)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM bodies WHERE seq = 0",
        "DELETE FROM records WHERE seq = 0",
        "UPDATE records SET seq = seq + 100",
        "UPDATE journal SET write = write + 1",
        "UPDATE journal SET boot = 99",
        "UPDATE records SET client_id = zeroblob(16)",
        "DELETE FROM documents",
        "UPDATE schema_migrations SET number = 99 WHERE number = 1",
    ],
)
def test_a_row_out_of_place_is_found(shown: Shown, tmp_path: Path, sql: str) -> None:
    """A row that was moved or taken away is missed, but at the end of all."""
    _expect_noticed(shown, tmp_path, lambda database: database.execute(sql))


def _expect_noticed(
    shown: Shown, tmp_path: Path, change: Callable[[sqlite3.Connection], object]
) -> None:
    directory = tmp_path / "changed"
    shutil.copytree(shown.directory, directory)
    with closing(sqlite3.connect(directory / "vault.db")) as database, database:
        for (trigger,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        change(database)

    try:
        problems = read_directory(directory, PASSPHRASE, COSTS).problems
    except ReaderError as error:
        problems = [str(error)]

    assert problems != []


# -- the reader is another implementation ------------------------------------


@pytest.mark.parametrize("path", sorted(READER.glob("*.py")), ids=lambda p: p.name)
def test_the_reader_imports_nothing_of_the_program(path: Path) -> None:
    """It knows the pages alone: no module of the program, and not its libraries."""
    forbidden = {"awserver", "awvault", "apsw", "argon2", "backports", "compression"}
    forbidden |= {"importlib", "msgspec", "nacl", "numpy"}
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")

    assert not {name.partition(".")[0] for name in imported} & forbidden
    ours = {name for name in imported if name.partition(".")[0] == "tests"}
    assert all(name.startswith("tests.independent_reader") for name in ours)


@pytest.mark.parametrize("size", [16, 24, 32, 64])
@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 1000])
@pytest.mark.parametrize("key", [b"", bytes(range(32)), bytes(range(64))])
def test_the_blake2b_of_the_reader_is_blake2b(
    size: int, length: int, key: bytes
) -> None:
    """The plain one agrees with the standard library's."""
    data = bytes(n % 251 for n in range(length))

    assert blake2b_of_the_reader(size, b"label", data, key=key) == (
        blake2b(data, digest_size=size, key=key, person=b"label").digest()
    )


def test_the_signatures_of_small_keys_are_refused() -> None:
    """A key of small order signs everything; the pages ask to refuse it."""
    identity = (1).to_bytes(32, "little")

    with pytest.raises(AlteredError):
        primitives.check_signed(
            identity, "record", b"anything", identity + bytes(32), "it"
        )


# -- the shipped command -----------------------------------------------------


def _call(place: Home, method: str, path: str, value: object = None) -> Any:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{place.servers[-1].url}{path}",
        data=None if value is None else json.dumps(value).encode(),
        method=method,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())


@pytest.mark.skipif(sys.platform == "win32", reason="the helpers use POSIX signals")
def test_what_the_shipped_command_wrote_is_read(tmp_path: Path) -> None:
    """With the full cost of Argon2, and all through the API, it is the same."""
    with home(tmp_path / "home", root=Root.SHIPPED) as place:
        server = place.serve()
        _call(
            place,
            "POST",
            "/api/0/buckets/afk_host",
            {"type": "afkstatus", "client": "aw-watcher-afk", "hostname": "höst"},
        )
        for second in (0, 3, 6):
            _call(
                place,
                "POST",
                "/api/0/buckets/afk_host/heartbeat?pulsetime=5",
                {
                    "timestamp": f"2024-03-01T10:00:{second:02}.25+00:00",
                    "duration": 0,
                    "data": {"status": "not-afk \ud83d"},
                },
            )
        _call(
            place,
            "POST",
            "/api/0/activity/test",
            [
                {"label": ["test-activity"], "note": "Just a test"},
                {"timestamp": ["2024-03-01T10:00:00Z", "2024-03-01T10:00:01Z"]},
            ],
        )
        assert server.terminate()[0] == 0
        exported = place.run("export")
        assert exported.status == 0, exported.stderr
        lines = [json.loads(line) for line in exported.stdout.splitlines()]

        reading = read_directory(place.data_dir, place.passphrase or "")

    assert reading.problems == []
    by_bucket: dict[str, list[tuple[int, float | None, bool, object]]] = {
        line["bucket"]["id"]: [] for line in lines if "bucket" in line
    }
    for line in lines:
        if "event" in line:
            event = line["event"]
            by_bucket[event["bucket"]].append(
                (
                    event["id"],
                    event["duration"],
                    event.get("pair", False),
                    event["data"],
                )
            )
    assert set(by_bucket) == {"afk_host", "activity_test"}
    assert by_bucket == {
        name: [
            (
                row.id,
                None if row.duration < 0 else row.duration / 1_000_000,
                bool(row.flags & 2),
                json.loads(row.text),
            )
            for row in sorted(reading.events(name), key=lambda row: (row.start, row.id))
        ]
        for name in reading.buckets()
    }
    assert by_bucket["afk_host"][0][1] == 6
