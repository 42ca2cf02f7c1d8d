"""T21: epoch keys reordered, repeated, missing or from the future, from a host.

The ring travels in the keys blob, which the signed document names: a host cannot
change one. And nobody writes under an epoch that the document does not name.
`test_t17_slots.py` shows the same of a ring that its owner sealed wrongly.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from awserver.records import SealedRecord, Seq
from awvault.protocol.account import KeysBlob
from awvault.sync.alarms import Name
from tests.adversarial.scenes import Blob, Records, Scene, scene
from tests.helpers.hosts import Member as Owner


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


def _no_ring(blob: KeysBlob, other: KeysBlob) -> KeysBlob:
    return replace(blob, ring=b"")


def _others_ring(blob: KeysBlob, other: KeysBlob) -> KeysBlob:
    return replace(blob, ring=other.ring)


def _later_ring(blob: KeysBlob, other: KeysBlob) -> KeysBlob:
    return replace(blob, ring=KeysBlob.decode(Owner("later").keys_blob(1)).ring)


def _flipped(blob: KeysBlob, other: KeysBlob) -> KeysBlob:
    return replace(blob, ring=blob.ring[:-1] + bytes([blob.ring[-1] ^ 1]))


@pytest.mark.parametrize("alter", [_no_ring, _others_ring, _later_ring, _flipped])
async def test_another_ring_is_refused_with_its_document(
    act: Scene, alter: Callable[[KeysBlob, KeysBlob], KeysBlob]
) -> None:
    """The document that came with it is not believed before its own blob comes."""
    await act.join("third")
    good = KeysBlob.decode(act.met.account.keys_blob)
    told = alter(good, KeysBlob.decode(Owner("other").keys_blob()))

    await act.caught(act.two, Blob(told.encode()), Name.DOCUMENTS_INVALID, client=None)


@pytest.mark.parametrize("epoch", [1, 2**32 - 1])
async def test_a_record_of_an_epoch_that_is_not_there_is_refused(
    act: Scene, epoch: int
) -> None:
    """An epoch is what the signed document names, and there is no other."""
    await act.store(act.one)
    await act.one.seal_and_sync()

    def later(honest: list[SealedRecord]) -> list[SealedRecord]:
        header = replace(honest[0].header, epoch=epoch)
        return [replace(honest[0], header=header, header_bytes=header.encode())]

    await act.caught(
        act.two,
        Records(act.one.client_id, later),
        Name.LOG_INVALID,
        client=act.one.client_id,
    )
    for member in (act.one, act.two):
        for client in member.vault.replica.heads():
            page = await member.vault.replica.read(client, start=Seq(0))
            assert {record.header.epoch for record in page} == {0}
