"""What a client believes of other clients' logs, and of the account's documents."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from awserver.records import ClientId, Head, RecordHash, SealedRecord, Seq
from awserver.storage.base import APPEND_RECORDS_MAX
from awvault.columns.compress import pack
from awvault.columns.payload import (
    COUNTER_BITS,
    BucketVersion,
    NextIds,
    Payload,
    encode_payload,
)
from awvault.columns.table import TOMBSTONE
from awvault.crypto.envelope import seal_record
from awvault.crypto.keys import JournalKey, Passphrase
from awvault.crypto.padding import FLOOR_LOCAL_BYTES, pad
from awvault.errors import (
    ChainError,
    DocumentError,
    ForkError,
    GapError,
    MalformedError,
    NewSecretNeededError,
    RollbackError,
    SignatureError,
    WithheldError,
    WrongPassphraseError,
    WrongPlaceError,
)
from awvault.joining import make_vault
from awvault.protocol.account import (
    Keystore,
    open_keys,
    seal_keystore,
    verify_documents,
)
from awvault.protocol.edits import (
    AddClient,
    ChangePassphrase,
    SetRecoveryKey,
    new_client_key,
    new_recovery_key,
)
from awvault.protocol.mentions import Mention
from awvault.replica import _parts
from awvault.sealing import seal_payloads
from awvault.testing import CHEAP, PASSPHRASE, open_vault
from awvault.vault import Vault
from awvault.verifying import verify
from tests.helpers.clients import Account, account_of, exchange, pull, seal_whole
from tests.helpers.owners import Owner, head_of, resign
from tests.helpers.randomness import fixed
from tests.helpers.records import chain
from tests.helpers.tables import Row, table
from tests.helpers.vaults import (
    A,
    B,
    Shown,
    bucket,
    contents,
    insert,
    read,
    us,
)

NO_HASH = RecordHash(bytes(32))

Clients = tuple[Account, Vault, Vault]


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    """An account whose first client has the bucket `b`, and a second client."""
    async with account_of(tmp_path) as (account, first):
        second = await account.join("lap")
        await account.adopt(first)
        await bucket(first)
        await exchange(first, second)
        yield account, first, second


async def log_of(vault: Vault) -> list[SealedRecord]:
    """Return a client's own log, whole."""
    return await vault.store.read(
        vault.keys.account_id, vault.keys.client_id, start=Seq(0)
    )


def forged(
    vault: Vault,
    *rows: Row,
    to: int = 0,
    buckets: Sequence[BucketVersion] = (),
    mention: Mention | None = None,
    after: Head | None = None,
) -> SealedRecord:
    """Seal what a client's own program never would, as its next record."""
    if mention is None:
        mention = vault._durable.current.seen().joined(Mention(document=vault.keys.pin))
    (new,) = seal_payloads(
        [
            Payload(
                seen=mention.as_payload(),
                document=mention.document,
                next_ids=NextIds(next_event=1, next_bucket=1),
                buckets=buckets,
                zones=[(to, table(*rows))] if rows else [],
            )
        ],
        vault.keys,
        vault.replica.heads().get(vault.keys.client_id) if after is None else after,
        floor_bytes=FLOOR_LOCAL_BYTES,
        random=vault._random,
        step=lambda _: None,
    )
    return new.record


def number_of(vault: Vault, name: str = "b") -> int:
    return vault._durable.current.buckets[name].number


def all_of(vault: Vault, name: str = "b") -> list[Shown]:
    assert vault.count(name) == len(vault.read(name))
    return read(vault, name)


# -- records ------------------------------------------------------------------


async def test_what_comes_before_a_bad_record_is_kept(clients: Clients) -> None:
    """The first record that is wrong is named; those before are shown, none after."""
    _, first, second = clients
    for at in range(4):
        await insert(first, (at, 1, A), (at, 2, B))
        await seal_whole(first)
    page = (await log_of(first))[1:]
    wrong = replace(page[2], signature=page[1].signature)

    with pytest.raises(SignatureError):
        await second.replica.accept(first.keys.client_id, [*page[:2], wrong, page[3]])

    assert len(all_of(second)) == 4
    assert second.replica.heads()[first.keys.client_id] == head_of(page[1])
    # Work goes on once the host is honest again.
    accepted = await second.replica.accept(first.keys.client_id, page[2:])
    assert (accepted.records, accepted.events) == (2, 4)
    assert all_of(second) == all_of(first)


@pytest.mark.parametrize("cut", ["gap", "twice", "other"])
async def test_records_out_of_order_are_refused(clients: Clients, cut: str) -> None:
    """A seq is missing, comes twice, or a record follows another one."""
    _, first, second = clients
    for at in range(3):
        await insert(first, (at, 1, A), (at, 2, B))
        await seal_whole(first)
    page = (await log_of(first))[1:]
    other = forged(first, after=head_of(page[0]))
    offered = {
        "gap": [page[0], page[2]],
        "twice": [page[0], page[0]],
        "other": [page[0], other, page[2]],
    }[cut]
    expected = {"gap": GapError, "twice": GapError, "other": ChainError}[cut]

    with pytest.raises(expected):
        await second.replica.accept(first.keys.client_id, offered)

    assert len(all_of(second)) == 2


async def test_a_client_that_is_not_named_has_no_log(clients: Clients) -> None:
    """Neither has this one, through here: nobody else seals its records."""
    _, first, second = clients
    page = await log_of(first)
    stranger = ClientId(bytes(16))

    with pytest.raises(WrongPlaceError, match="does not name client 00000000"):
        await second.replica.accept(stranger, page)
    with pytest.raises(WrongPlaceError, match="own log"):
        await first.replica.accept(first.keys.client_id, page)


async def test_records_that_lie_in_the_store_already_are_taken_note_of(
    clients: Clients,
) -> None:
    """As when a client appended them through the host API of this machine."""
    _, first, second = clients
    await insert(first, (0, 1, A), (1, 1, B))
    await seal_whole(first)
    page = (await log_of(first))[1:]
    await second.store.append(second.keys.account_id, page)
    assert all_of(second) == []

    await second.replica.accept(first.keys.client_id, page)

    assert all_of(second) == [Shown(0, 1, A), Shown(1, 1, B)]


async def test_unverified_records_in_the_store_are_verified_at_a_start(
    clients: Clients,
) -> None:
    """A record that no index row vouches for is shown only if its client signed it."""
    account, first, second = clients
    await insert(first, (0, 1, A), (1, 1, B))
    await seal_whole(first)
    good = (await log_of(first))[1]
    bad = forged(first, Row(7, us(5)), to=number_of(first))
    bad = resign(second.keys.client_key, bad)
    await second.store.append(second.keys.account_id, [good, bad])
    path = second.database.path.parent
    await second.close()

    again = await account.open(path)

    assert all_of(again) == [Shown(0, 1, A), Shown(1, 1, B)]
    assert again.replica.heads()[first.keys.client_id] == head_of(good)
    (reason,) = again.facts().stopped_logs
    assert "signature" in reason
    assert await insert(again, (9, 1, A)), "other logs go on"


async def test_a_payload_that_is_nonsense_stops_nothing(clients: Clients) -> None:
    """It is stored, counted and not shown; the log goes on behind it."""
    account, first, second = clients
    head = first.replica.heads()[first.keys.client_id]
    keys = first.keys
    nonsense = seal_record(
        keys.epoch_key,
        keys.client_key,
        account_id=keys.account_id,
        client_id=keys.client_id,
        epoch=0,
        seq=Seq(head.seq + 1),
        prev=head.hash,
        plaintext=pad(b"nonsense", floor=FLOOR_LOCAL_BYTES),
        random=first._random,
    )
    behind = forged(
        first,
        Row(77 | 1 << COUNTER_BITS, us(5)),
        to=number_of(first),
        after=head_of(nonsense),
    )

    accepted = await second.replica.accept(keys.client_id, [nonsense, behind])

    assert (accepted.records, accepted.unreadable, accepted.events) == (2, 1, 1)
    assert len(all_of(second)) == 1
    path = second.database.path.parent
    (number,) = await insert(second, (50, 1, A))
    await second.close()
    again = await account.open(path)
    assert again.facts().unreadable_records == 1
    assert len(all_of(again)) == 2
    (later,) = await insert(again, (60, 1, A))
    assert later == number + 1, "another's record moves no counter of ours"


# -- ids that are forged ----------------------------------------------------------


async def test_a_forged_row_of_a_lower_number_never_counts(clients: Clients) -> None:
    """The owner's row counts, whichever comes first, and also if none ever comes."""
    account, first, second = clients
    await bucket(second, "mine")
    numbers = await insert(second, (0, 1, A), (1, 1, A), name="mine")
    await seal_whole(second)
    target = number_of(second, "mine")
    forgery = forged(
        first,
        Row(numbers[0], us(500), 7, text=B),
        Row(numbers[1] + 100, us(600), 7, text=B),
        to=target,
    )

    for forged_first in (True, False):
        reader = await account.join("reader")
        if forged_first:
            await pull(reader, first)
            await reader.replica.accept(first.keys.client_id, [forgery])
            await pull(reader, second, clients=[second.keys.client_id])
        else:
            await pull(reader, second, first)
            await reader.replica.accept(first.keys.client_id, [forgery])

        assert all_of(reader, "mine") == [Shown(0, 1, A), Shown(1, 1, A)]
        assert reader.event("mine", numbers[1] + 100) is None


async def test_rows_sealed_again_by_a_newer_client_take_the_place_of_the_old(
    clients: Clients,
) -> None:
    """Nothing is there twice, in either order, and counts agree."""
    account, first, second = clients
    numbers = await insert(first, (0, 1, A), (1, 1, A))
    await seal_whole(first)
    again = forged(
        second,
        Row(numbers[0], us(0), 2_000_000, text=B),
        Row(numbers[1], us(1), 1_000_000, text=A),
        to=number_of(first),
    )
    for order in (0, 1):
        third = await account.join(f"third {order}")
        if order:
            await third.replica.accept(second.keys.client_id, [again])
            await pull(third, first)
        else:
            await pull(third, first)
            await third.replica.accept(second.keys.client_id, [again])

        assert all_of(third) == [Shown(0, 2, B), Shown(1, 1, A)]
        path = third.database.path.parent
        await third.close()
        assert all_of(await account.open(path)) == [Shown(0, 2, B), Shown(1, 1, A)]


async def test_forged_ids_and_buckets_move_no_counter(clients: Clients) -> None:
    """What another client seals under our number takes none of our numbers."""
    account, first, second = clients
    mine = 1 << COUNTER_BITS
    forgery = forged(
        second,
        Row(mine | (1 << COUNTER_BITS) - 1, us(0)),
        Row(mine | (1 << COUNTER_BITS) - 2, us(1), revision=3),
        to=mine | (1 << COUNTER_BITS) - 1,
        buckets=[_version(mine | (1 << COUNTER_BITS) - 2, "planted")],
    )
    await first.replica.accept(second.keys.client_id, [forgery])
    path = first.database.path.parent
    await first.close()

    again = await account.open(path)

    (number,) = await insert(again, (0, 1, A))
    assert number == mine | 1
    assert await again.create_bucket("new", type="test")
    assert number_of(again, "new") == mine | 2


async def test_a_forged_bucket_of_a_lower_number_never_counts(
    clients: Clients,
) -> None:
    """No client puts a first version in the place of another's with a higher number."""
    account, first, second = clients
    third = await account.join("third")
    planted = forged(first, buckets=[_version(2 << COUNTER_BITS | 1, "planted")], to=0)
    await pull(third, first)
    await third.replica.accept(first.keys.client_id, [planted])
    assert "planted" not in third.buckets()

    await bucket(second, "real")
    await seal_whole(second)
    await pull(third, second, clients=[second.keys.client_id])

    assert third.bucket("real").client_label == "lap"


async def test_a_first_row_that_deletes_is_counted_as_it_is_shown(
    clients: Clients,
) -> None:
    """Not at all, though no program of ours writes one."""
    _, first, second = clients
    number = 2 << COUNTER_BITS
    record = forged(
        second,
        Row(number | 1, us(0), flags=TOMBSTONE),
        Row(number | 2, us(1)),
        to=number_of(first),
    )

    await first.replica.accept(second.keys.client_id, [record])

    assert first.count("b", start=us(-10), end=us(10)) == 1
    assert len(all_of(first)) == 1


def _version(bucket_id: int, name: str, revision: int = 0) -> BucketVersion:
    return BucketVersion(
        bucket_id=bucket_id,
        revision=revision,
        name=name,
        type="test",
        client="",
        hostname="",
        created_us=0,
        data=b"{}",
        hidden=False,
    )


# -- what clients have seen ------------------------------------------------------


async def test_records_say_what_their_client_has_seen(clients: Clients) -> None:
    """The heads of all other logs, and the document; they are read back at a start."""
    account, first, second = clients
    await insert(second, (0, 1, A), (1, 1, B))
    await exchange(second, first)
    await insert(first, (2, 1, A), (3, 1, B))
    await exchange(first, second)

    mention = second.replica.mentions()[first.keys.client_id]

    assert mention.seen == {
        second.keys.client_id: second.replica.heads()[second.keys.client_id]
    }
    assert mention.document == first.keys.pin
    path = second.database.path.parent
    mentions = second.replica.mentions()
    await second.close()
    again = await account.open(path)
    assert again.replica.mentions() == mentions
    again.replica.check_mentions(again.replica.heads())


async def test_what_a_client_has_seen_does_not_shrink(clients: Clients) -> None:
    """Neither the head of a log nor the document may go back, or change."""
    _, first, second = clients
    await insert(second, (0, 1, A), (1, 1, B))
    await exchange(second, first)
    await insert(first, (2, 1, A), (3, 1, B))
    await exchange(first, second)
    mention = second.replica.mentions()[first.keys.client_id]
    ((_, head),) = mention.seen.items()
    version, _ = mention.document
    before = contents(second)
    wrong = {
        RollbackError: [
            replace(mention, seen={}),
            replace(mention, document=(version - 1, bytes(32))),
        ],
        ForkError: [
            replace(
                mention,
                seen={second.keys.client_id: replace(head, hash=NO_HASH)},
            ),
            replace(mention, document=(version, bytes(32))),
        ],
    }

    for kind, mentions in wrong.items():
        for each in mentions:
            with pytest.raises(kind):
                await second.replica.accept(
                    first.keys.client_id, [forged(first, mention=each)]
                )

    assert contents(second) == before


async def test_two_hashes_at_one_place_are_a_fork(clients: Clients) -> None:
    """Whichever comes first, the record or its mention."""
    account, first, second = clients
    third = await account.join("third")
    await account.adopt(first, second)
    await insert(second, (0, 1, A), (1, 1, B))
    await seal_whole(second)
    (real,) = await log_of(second)
    other = Head(seq=Seq(0), hash=NO_HASH)
    liar = forged(
        first,
        mention=Mention(seen={second.keys.client_id: other}, document=first.keys.pin),
    )

    # The record came first. Whoever speaks of another is not at fault: its log goes
    # on, and the fork is that of the log it speaks of.
    await pull(first, second)
    await pull(third, first)
    await third.replica.accept(first.keys.client_id, [liar])
    with pytest.raises(ForkError) as caught:
        third.replica.check_mentions(third.replica.heads())
    assert caught.value.client_id == second.keys.client_id

    # The mention came first: it is found as soon as the record is here.
    fourth = await account.join("fourth")
    await fourth.replica.accept(first.keys.client_id, [*await log_of(first), liar])
    await fourth.replica.accept(second.keys.client_id, [real])
    with pytest.raises(ForkError):
        fourth.replica.check_mentions(fourth.replica.heads())


async def test_verify_names_what_clients_have_seen_otherwise(
    clients: Clients,
) -> None:
    """A record that speaks of another one than is here is in order, and told."""
    _, first, second = clients
    await insert(second, (0, 1, A), (1, 1, B))
    await seal_whole(second)
    other = Mention(
        seen={second.keys.client_id: Head(seq=Seq(0), hash=NO_HASH)},
        document=first.keys.pin,
    )
    await second.replica.accept(first.keys.client_id, [forged(first, mention=other)])

    found = await verify(second.database, second.store, second.keys, lambda _: None)

    (finding,) = found.findings
    assert first.keys.client_id.hex()[:8] in finding.where
    assert "two of record 0" in finding.problem


async def test_what_the_host_does_not_supply_is_withheld(clients: Clients) -> None:
    """A record, a log, a document, a client: each is named with both numbers."""
    account, first, second = clients
    await insert(second, (0, 1, A), (1, 1, B))
    await seal_whole(second)
    await pull(first, second)
    await insert(first, (2, 1, A), (3, 1, B))
    await seal_whole(first)
    third = await account.join("third")
    await pull(third, first, clients=[first.keys.client_id])
    heads = third.replica.heads()

    with pytest.raises(WithheldError) as caught:
        third.replica.check_mentions(heads)

    assert (caught.value.mentioned, caught.value.offered) == (1, 0)
    assert caught.value.client_id == second.keys.client_id
    third.replica.check_mentions(
        heads | {second.keys.client_id: Head(seq=Seq(5), hash=NO_HASH)}
    )
    # A document that is mentioned and not served.
    await account.adopt(first)
    await insert(first, (4, 1, A), (5, 1, B))
    await seal_whole(first)
    await pull(second, first)
    with pytest.raises(WithheldError, match="account document") as caught:
        second.replica.check_mentions(second.replica.heads())
    assert (caught.value.mentioned, caught.value.offered) == (3, 2)


async def test_honest_clients_that_work_at_the_same_time_raise_no_alarm(
    clients: Clients,
) -> None:
    """Each knows what the other does not; nothing is compared as a whole."""
    account, first, second = clients
    third = await account.join("third")
    await account.adopt(first, second)
    vaults = (first, second, third)
    await pull(third, first)
    for turn in range(4):
        for at, vault in enumerate(vaults):
            await insert(vault, (turn, 1, A), (turn, 2, B), name="b")
            await seal_whole(vault)
            if (turn + at) % 2:
                await pull(vault, vaults[at - 1])
    for vault in vaults:
        await pull(vault, *vaults)
    for vault in vaults:
        await pull(vault, *vaults)
        vault.replica.check_mentions(vault.replica.heads())


# -- account documents ------------------------------------------------------------


async def test_a_new_client_is_known_once_its_document_was_adopted(
    clients: Clients,
) -> None:
    """Documents that are known already are passed over; a fork of one is named."""
    account, first, _ = clients
    third = await account.join("third")
    await bucket(third, "t")
    await seal_whole(third)
    with pytest.raises(WrongPlaceError):
        await pull(first, third)

    await account.adopt(first)
    await account.adopt(first)
    await pull(first, third)

    assert first.bucket("t").client_label == "third"
    assert first.replica.account.document.version == 3
    assert len(await first.store.documents(first.keys.account_id)) == 3


async def test_a_document_that_does_not_follow_is_refused(clients: Clients) -> None:
    """The pin does not move, and neither does the store."""
    account, first, _ = clients
    pin = first.keys.pin
    other = replace_last(account)
    await account.add("third")
    newest = account.documents[2]
    altered = newest[:-70] + bytes([newest[-70] ^ 1]) + newest[-69:]

    with pytest.raises((DocumentError, SignatureError)):
        await first.replica.adopt([altered])
    with pytest.raises(DocumentError, match="keys blob"):
        await first.replica.adopt([newest], b"another blob")
    with pytest.raises(ForkError, match="version 2"):
        await first.replica.adopt([other])

    assert first.keys.pin == pin
    assert len(await first.store.documents(first.keys.account_id)) == 2


def replace_last(account: Account) -> bytes:
    """Return another version with the number of the newest one."""
    opened = open_keys(
        Passphrase(PASSPHRASE),
        verify_documents(
            account.opened.account.document.account_id, account.documents[:-1]
        ),
        account.keys_blob,
        profile=CHEAP,
    )
    key = new_client_key(opened, account.random)
    intent = AddClient(client=key, label="other")
    return intent.run(opened, heads={}, profile=CHEAP, random=account.random).document


async def test_a_document_that_names_another_record_is_refused(
    clients: Clients,
) -> None:
    """Its heads are what the owner had verified: two of one place are a fork."""
    account, first, second = clients
    await insert(second, (0, 1, A), (1, 1, B))
    await seal_whole(second)
    await pull(first, second)
    edit = AddClient(
        client=new_client_key(account.opened, account.random), label="x"
    ).run(
        account.opened,
        heads={second.keys.client_id: Head(seq=Seq(0), hash=NO_HASH)},
        profile=CHEAP,
        random=account.random,
    )

    with pytest.raises(ForkError, match="record 0 of client"):
        await first.replica.adopt([edit.document])


async def test_a_passphrase_that_another_client_changed(clients: Clients) -> None:
    """The old one unlocks here until the new one was proved, and then no more."""
    account, _, second = clients
    account.passphrase = "another one"
    account.edit(ChangePassphrase(passphrase=Passphrase("another one")))
    await account.adopt(second)
    path = second.database.path.parent
    assert second.facts().passphrase_changed
    await insert(second, (0, 1, A), (1, 1, B))
    assert await seal_whole(second) == 1, "sealing goes on"
    await second.close()

    # Either unlocks: the one that is known here, and the account's newest.
    with pytest.raises(WrongPassphraseError):
        await open_vault(path, passphrase="neither")
    async with await open_vault(path) as second:
        assert second.facts().passphrase_changed
        with pytest.raises(WrongPassphraseError):
            await second.replica.take_secret(Passphrase(PASSPHRASE))
        await second.replica.take_secret(Passphrase("another one"))
        assert not second.facts().passphrase_changed
    with pytest.raises(WrongPassphraseError):
        await open_vault(path)
    async with await open_vault(path, passphrase="another one") as second:
        assert not second.facts().passphrase_changed


async def test_a_start_with_the_new_passphrase_proves_it(clients: Clients) -> None:
    """From then on the old one opens nothing here."""
    account, _, second = clients
    account.passphrase = "another one"
    account.edit(ChangePassphrase(passphrase=Passphrase("another one")))
    await account.adopt(second)
    path = second.database.path.parent
    await second.close()

    async with await open_vault(path, passphrase="another one") as second:
        assert not second.facts().passphrase_changed

    with pytest.raises(WrongPassphraseError):
        await open_vault(path)


async def test_another_recovery_key_changes_no_passphrase(clients: Clients) -> None:
    """The keys blob is another one, and the passphrase is as it was."""
    account, _, second = clients
    recovery = new_recovery_key(account.opened, account.random)
    account.edit(SetRecoveryKey(recovery=recovery))

    await account.adopt(second)

    assert not second.facts().passphrase_changed
    path = second.database.path.parent
    await second.close()
    async with await open_vault(path) as second:
        assert not second.facts().passphrase_changed


async def test_a_vault_from_before_learns_what_unlocks_it(clients: Clients) -> None:
    """Its row says nothing of that; the first start writes it down."""
    account, _, second = clients
    path = second.database.path.parent
    await second.database.write(
        lambda tx: tx.execute(
            "UPDATE vault SET unlock_version = NULL, unlock_blob = NULL"
        )
    )
    await second.close()

    await account.open(path)

    with apsw.Connection(str(path / "vault.db")) as database:
        ((version, blob),) = database.execute(
            "SELECT unlock_version, unlock_blob FROM vault"
        )
    assert (version, blob) == (len(account.documents), account.keys_blob)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("UPDATE vault SET unlock_version = 99", RollbackError),
        ("UPDATE vault SET unlock_blob = x'00'", MalformedError),
        ("UPDATE keys_blobs SET blob = x'00'", DocumentError),
    ],
)
async def test_what_unlocks_is_not_mistaken_for_a_passphrase(
    clients: Clients, sql: str, kind: type[Exception]
) -> None:
    """A damaged row is damage, and not a wrong passphrase."""
    _, _, second = clients
    path = second.database.path.parent
    await second.close()
    with apsw.Connection(str(path / "vault.db")) as database:
        database.execute(sql)

    with pytest.raises(kind):
        await open_vault(path)


# -- new epochs, and revoked clients --------------------------------------------


@asynccontextmanager
async def vault_of(root: Path) -> AsyncIterator[tuple[Owner, Vault]]:
    """Give an owner who signs what tests need, and the vault of client 1."""
    owner = Owner(name="rotating", clients=3)
    keystore = Keystore(
        client_number=1,
        client_key=owner.client_keys[1],
        journal_key=JournalKey(fixed("rotating journal")),
        pin=owner.verified().pin,
        ring=owner.ring(),
    )
    path = root / "vault"
    path.mkdir(mode=0o700)
    await make_vault(
        path / "vault.db",
        account_id=owner.account_id,
        client_id=owner.client_id(1),
        documents=owner.documents,
        keys_blob=owner.keys_blob(),
        keystore=seal_keystore(
            owner.account_id, keystore, epoch=0, random=owner.random
        ),
    )
    async with await open_vault(path, passphrase=owner.passphrase) as vault:
        await bucket(vault)
        yield owner, vault


async def test_a_new_epoch_waits_for_its_secret(tmp_path: Path) -> None:
    """Events are kept; nothing is sealed or pinned; then all goes on."""
    async with vault_of(tmp_path) as (owner, vault):
        pin = vault.keys.pin
        document = owner.sign(owner.next_epoch(), rotated=True)
        blob = owner.keys_blob(1)
        await insert(vault, (0, 1, A), (1, 1, B))

        for _ in range(2):
            with pytest.raises(NewSecretNeededError, match="epoch 1"):
                await vault.replica.adopt([document], blob)
        assert vault.keys.pin == pin
        assert vault.facts().new_secret_needed
        assert await seal_whole(vault) == 0
        assert await vault.seal_slot() == 0
        assert await insert(vault, (2, 1, A))

        # So it is after a start with what unlocks here.
        path = vault.database.path.parent
        await vault.close()
        async with await open_vault(path, passphrase=owner.passphrase) as again:
            assert again.facts().new_secret_needed
            assert again.keys.pin == pin
            with pytest.raises(NewSecretNeededError):
                await again.replica.adopt([document], blob)

            await again.replica.take_secret(Passphrase(owner.passphrase))

            assert again.keys.epoch == 1
            assert again.keys.pin[0] == 2
            assert not again.facts().new_secret_needed
            assert await seal_whole(again) == 1
            assert (await log_of(again))[-1].header.epoch == 1
        async with await open_vault(path, passphrase=owner.passphrase) as again:
            assert again.keys.epoch == 1
            assert len(read(again)) == 3


async def test_a_start_with_the_secret_of_a_new_epoch_takes_it(
    tmp_path: Path,
) -> None:
    """The keystore, sealed under the epoch before, is found and sealed anew."""
    async with vault_of(tmp_path) as (owner, vault):
        old, owner.passphrase = owner.passphrase, "the new one"
        document = owner.sign(owner.next_epoch(), rotated=True)
        with pytest.raises(NewSecretNeededError):
            await vault.replica.adopt([document], owner.keys_blob(1))
        path = vault.database.path.parent
        await vault.close()

        for _ in range(2):
            async with await open_vault(path, passphrase="the new one") as again:
                assert again.keys.epoch == 1
        with pytest.raises(WrongPassphraseError):
            await open_vault(path, passphrase=old)


async def test_what_a_client_sealed_after_its_end_is_not_shown(
    tmp_path: Path,
) -> None:
    """Neither what comes later nor what was accepted before is; it is no failure."""
    async with vault_of(tmp_path) as (owner, vault):
        payloads = [
            pack(
                encode_payload(
                    Payload(
                        seen={},
                        document=owner.verified().pin,
                        next_ids=NextIds(next_event=1, next_bucket=1),
                        buckets=[],
                        zones=[
                            (
                                number_of(vault),
                                table(Row(2 << COUNTER_BITS | at, us(at))),
                            )
                        ],
                    )
                )
            )
            for at in range(1, 5)
        ]
        log = owner.records(
            *(pad(each, floor=FLOOR_LOCAL_BYTES) for each in payloads), client=2
        )
        client = owner.client_id(2)
        await vault.replica.accept(client, log[:3])
        assert len(read(vault)) == 3
        entry = replace(owner.entry(2), revoked=True, final=head_of(log[1]))
        document = owner.sign(
            owner.next(clients=(owner.entry(0), owner.entry(1), entry))
        )

        await vault.replica.adopt([document])

        assert [shown.start for shown in read(vault)] == [1, 2]
        assert vault.replica.heads()[client] == head_of(log[1])
        accepted = await vault.replica.accept(client, log[2:])
        assert (accepted.records, accepted.ignored) == (0, 2)
        vault.replica.check_mentions(vault.replica.heads())
        path = vault.database.path.parent
        await vault.close()
        async with await open_vault(path, passphrase=owner.passphrase) as again:
            assert [shown.start for shown in read(again)] == [1, 2]
            assert not again.facts().stopped_logs
            found = await verify(
                again.database, again.store, again.keys, lambda _: None
            )
            assert found.findings == []


async def test_a_revoked_client_seals_nothing(tmp_path: Path) -> None:
    """Its records would not count: its journal keeps what it records."""
    async with vault_of(tmp_path) as (owner, vault):
        entry = replace(owner.entry(1), revoked=True)
        document = owner.sign(
            owner.next(clients=(owner.entry(0), entry, owner.entry(2)))
        )
        await vault.replica.adopt([document])

        await insert(vault, (0, 1, A), (1, 1, B))

        assert vault.facts().revoked
        assert await seal_whole(vault) == 0
        assert len(read(vault)) == 2


def test_a_page_of_many_small_records_is_stored_in_several_parts() -> None:
    """As many as a store takes at once, and all of them in order."""
    page = chain(2 * APPEND_RECORDS_MAX + 1)

    parts = list(_parts(page))

    assert [len(part) for part in parts] == [APPEND_RECORDS_MAX] * 2 + [1]
    assert [record for part in parts for record in part] == page
