"""T24: a host puts a record in another place: of another client, account or seq.

As in `test_t24_moved.py`, where the records are moved in a file: here the host
serves them, to a client of this program, over a socket.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from awserver.records import RecordHash, SealedRecord, Seq
from awvault.sync.alarms import Name
from tests.adversarial.scenes import Records, Scene, scene
from tests.helpers.hosts import Member as Owner
from tests.helpers.randomness import fixed


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


def relabelled(**changes: object) -> Callable[[SealedRecord], SealedRecord]:
    """Return what writes another header over a record, and cannot sign it."""

    def relabel(record: SealedRecord) -> SealedRecord:
        header = replace(record.header, **changes)  # type: ignore[arg-type]
        return replace(record, header=header, header_bytes=header.encode())

    return relabel


async def test_another_clients_record_is_refused(act: Scene) -> None:
    """A record of the reader's own, served as the other client's."""
    (own, *_) = await act.two.vault.replica.read(act.two.client_id, start=Seq(0))
    await act.store(act.one)
    await act.one.seal_and_sync()

    await act.caught(
        act.two,
        Records(act.one.client_id, lambda honest: [own]),
        Name.LOG_INVALID,
        client=act.one.client_id,
    )


async def test_another_accounts_record_is_refused(act: Scene) -> None:
    """A record that somebody else's client sealed and signed well."""
    foreign = Owner("somebody else").record(b"foreign")
    await act.store(act.one)
    await act.one.seal_and_sync()

    await act.caught(
        act.two,
        Records(act.one.client_id, lambda honest: [foreign]),
        Name.LOG_INVALID,
        client=act.one.client_id,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": Seq(1)},
        {"prev": RecordHash(fixed("another past"))},
        {"epoch": 1},
        {"epoch": 0, "commitment": fixed("another key")},
        {"salt": fixed("another salt", 24)},
    ],
    ids=["seq", "prev", "epoch", "commitment", "salt"],
)
async def test_a_record_under_another_header_is_refused(
    act: Scene, changes: dict[str, object]
) -> None:
    """Whatever the host writes over a header, the client's signature is not on it."""
    await act.store(act.one)
    await act.one.seal_and_sync()
    (known, *_) = await act.two.vault.replica.read(act.one.client_id, start=Seq(0))
    other = relabelled(**changes)

    await act.caught(
        act.two,
        Records(
            act.one.client_id,
            # Where the seq would be right, the content is of another place.
            lambda honest: [other(known if "seq" in changes else honest[0])],
        ),
        Name.LOG_INVALID,
        client=act.one.client_id,
    )
