"""What one caller can take from others, with the limits of the product."""

import secrets
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from awserver.config import Registration, ServiceSettings
from awserver.documents import CHAIN_BYTES_MAX
from awserver.wire import PreloginRequest
from tests.helpers.hosts import Member, running_host

STRANGER = {"X-Forwarded-For": "198.51.100.7"}
OWNER = {"X-Forwarded-For": "203.0.113.9"}
TRUSTED = ("127.0.0.0/8",)


def product(url: str) -> ServiceSettings:
    return ServiceSettings(origins=(url,), registration=Registration.OPEN)


async def test_a_stranger_keeps_no_owner_out(tmp_path: Path) -> None:
    """Whoever asks for a name from one address leaves its owner's address alone."""
    async with running_host(
        tmp_path, settings=product, trusted_proxies=TRUSTED
    ) as host:
        member = Member("alice")
        await member.register(host.visitor)
        asked = PreloginRequest(username="alice")
        statuses = [
            (await host.visitor.post("/prelogin", asked, **STRANGER)).status
            for _ in range(80)
        ]
        answer = await host.visitor.post("/prelogin", asked, **OWNER)

    assert 429 in statuses
    assert answer.status == 200


async def test_guesses_at_a_name_keep_no_owner_from_edits(tmp_path: Path) -> None:
    """Refused logins of strangers do not count for who has a session."""
    async with running_host(
        tmp_path, settings=product, trusted_proxies=TRUSTED
    ) as host:
        member = Member("alice")
        mine = await member.register(host.visitor)
        guess = await Member("mallory").session_request(host.visitor, by="login")
        guess = structs.replace(guess, username="alice")
        statuses = [
            (await host.visitor.post("/sessions", guess, **STRANGER)).status
            for _ in range(40)
        ]
        request = await member.document_request(mine, member.sign(member.next()))
        answer = await mine.post("/documents", request)

    assert {401, 429} <= set(statuses)
    assert answer.status == 201


async def test_restoring_counts_as_registering(tmp_path: Path) -> None:
    """Accounts that are put back from nothing are limited as new ones are."""
    async with running_host(tmp_path, settings=product) as host:
        statuses = []
        for number in range(15):
            member = Member(f"m{number}", username=f"user{number}")
            request = await member.restore_request(host.visitor)
            statuses.append(
                (await host.visitor.post("/documents/restore", request)).status
            )

    assert statuses.count(201) == 10
    assert statuses[-1] == 429


async def test_a_deleted_account_is_not_remembered(tmp_path: Path) -> None:
    """The same account with another passphrase opens with that one alone."""
    async with running_host(tmp_path) as host:
        member = Member("alice")
        mine = await member.register(host.visitor)
        await member.log_in(host.visitor, by="login")
        request = await member.delete_request(mine)
        assert (await mine.post("/account/delete", request)).status == 204

        again = Member("alice", passphrase="quite another one")
        await again.register(host.visitor)
        new = await again.session_request(host.visitor, by="login")
        old = await member.session_request(host.visitor, by="login")

        assert (await host.visitor.post("/sessions", new)).status == 201
        assert (await host.visitor.post("/sessions", old)).status == 401


async def test_the_documents_of_an_account_are_bounded(tmp_path: Path) -> None:
    """Versions without end are refused, and what is there can be put back at once."""
    async with running_host(tmp_path) as host:
        member = Member("alice")
        mine = await member.register(host.visitor)
        first = member.verified().document
        entry, number = member.entry(0), first.clients[-1].number
        many = tuple(
            replace(
                entry,
                number=number + 1 + more,
                public=secrets.token_bytes(32),
                added_version=2,
            )
            for more in range(8000)
        )
        document, taken, statuses = member.next(clients=(*first.clients, *many)), 0, []
        while taken <= CHAIN_BYTES_MAX:
            data = member.sign(document)
            taken += len(data)
            request = await member.document_request(mine, data)
            statuses.append((await mine.post("/documents", request)).status)
            document = member.next()

    assert statuses[-1] == 413
    assert set(statuses[:-1]) == {201}
