"""/api/1 of localhost mode: the same routes, over the vault's own database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from awserver.app import LocalHost
from awserver.documents import hash_document
from awserver.proofs import Action, Transcript, body_of_delete, body_of_document
from awserver.records import SealedRecord, Seq
from awserver.wire import (
    ChangesAnswer,
    DeleteRequest,
    DocumentRequest,
    HeadsAnswer,
    InfoAnswer,
    PreloginAnswer,
    SessionAnswer,
    SessionRequest,
)
from awvault.crypto.keys import ClientKey, LoginKey, Passphrase, derive_login_key
from awvault.crypto.passphrase import derive_passphrase_key
from awvault.gateway import (
    GatewaySettings,
    VaultHolder,
    checks_for,
    create_gateway,
    create_runner,
)
from awvault.noticing import Noticer, take_note
from awvault.opening import LOCAL_USERNAME
from awvault.testing import CHEAP, PASSPHRASE, open_vault
from awvault.vault import Vault
from tests.helpers.clients import account_of
from tests.helpers.hosts import Visitor, proven, visitor
from tests.helpers.processes import Root, home
from tests.helpers.vaults import A, bucket, insert, read, seal_all
from tests.helpers.waiting import until


@dataclass(slots=True)
class Local:
    """A gateway and /api/1 over one vault, in this process."""

    vault: Vault
    at: Visitor
    host: LocalHost
    port: int
    read_only: bool = False
    noticer: Noticer = field(default_factory=Noticer)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def serve(self) -> None:
        """Begin to serve /api/1; until then there is no service."""
        await self.stack.enter_async_context(
            self.host.serving(
                self.vault.database,
                address="127.0.0.1",
                port=self.port,
                is_read_only=lambda: self.read_only,
                on_change=self.noticer.wake,
            )
        )

    async def transcript(
        self, action: Action, body: bytes = b"", *, origin: str = ""
    ) -> Transcript:
        answer = await self.at.post("/prelogin", {"username": LOCAL_USERNAME})
        given = answer.as_(PreloginAnswer)
        return Transcript(
            origin=origin or self.at.url,
            action=action,
            username=LOCAL_USERNAME,
            nonce=given.nonce,
            client_nonce=bytes(32),
            client_id=self.vault.keys.client_id,
            salt=given.salt,
            body=body,
        )

    async def log_in(self, *, origin: str = "") -> Visitor:
        signed = await self.transcript(Action.SESSION, origin=origin)
        key: ClientKey = self.vault.keys.client_key
        answer = await self.at.post(
            "/sessions",
            SessionRequest(
                username=LOCAL_USERNAME,
                by="client",
                signature=key.prove(signed),
                **proven(signed),
            ),
        )
        return Visitor(self.at.http, self.at.url, answer.as_(SessionAnswer).token)

    async def login_key(self) -> LoginKey:
        answer = await self.at.post("/prelogin", {"username": LOCAL_USERNAME})
        return derive_login_key(
            derive_passphrase_key(
                Passphrase(PASSPHRASE),
                username=LOCAL_USERNAME,
                salt=answer.as_(PreloginAnswer).salt,
                profile=CHEAP,
            )
        )


@pytest.fixture
async def unserved(tmp_path: Path) -> AsyncIterator[Local]:
    """Return a gateway whose /api/1 has no service yet."""
    async with await open_vault(tmp_path / "vault") as vault, gateway(vault) as made:
        yield made


@contextlib.asynccontextmanager
async def gateway(vault: Vault) -> AsyncIterator[Local]:
    """Serve a vault's gateway, whose /api/1 has no service yet."""
    settings = GatewaySettings()
    async with contextlib.AsyncExitStack() as stack:
        host = LocalHost(checks_for(settings))
        runner = create_runner(
            create_gateway(VaultHolder(vault), settings, add_others=host.add_routes)
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        at = await stack.enter_async_context(visitor(f"http://127.0.0.1:{port}"))
        made = Local(vault, at, host, port)
        await stack.enter_async_context(made.stack)
        yield made


@pytest.fixture
async def local(unserved: Local) -> Local:
    """Return a gateway with /api/1."""
    await unserved.serve()
    return unserved


async def test_a_vaults_records_can_be_read_as_a_host_has_them(local: Local) -> None:
    """The account, its documents and the sealed records are the vault's own."""
    await bucket(local.vault)
    await insert(local.vault, (0, 1, b'{"app":"a"}'))
    await seal_all(local.vault)
    session = await local.log_in()

    heads = (await session.get("/heads")).as_(HeadsAnswer)

    (head,) = heads.heads
    client = local.vault.keys.client_id
    assert head.client_id == client.hex()
    records: list[SealedRecord] = await session.read(client)
    assert records[-1].hash.hex() == head.hash
    assert len(records) == heads.entries
    stored = await local.vault.store.read(
        local.vault.keys.account_id,
        client,
        start=records[0].header.seq,
    )
    assert records == stored
    assert len((await session.get("/documents")).documents()) == heads.version


async def test_nobody_registers_there(local: Local) -> None:
    """Registration is closed: the vault's account is the only one."""
    assert (await local.at.get("/info")).as_(InfoAnswer).registration == "closed"
    assert (await local.at.post("/accounts", {})).code == (403, "registration-closed")


async def test_until_there_is_a_database_it_says_to_try_again(unserved: Local) -> None:
    """Routes are there before the service is, and say when to come back."""
    for method, path in (("GET", "/info"), ("GET", "/usage"), ("POST", "/prelogin")):
        answer = await unserved.at.call(
            method,
            f"/api/1{path}",
            value={"username": "local"} if method == "POST" else None,
            headers={"Authorization": f"Bearer {'A' * 64}"},
        )
        assert answer.code == (503, "host-busy")
        assert answer.headers["Retry-After"] == "1"
    assert (await unserved.at.call("GET", "/readyz")).code == (503, "host-busy")

    await unserved.serve()

    assert (await unserved.at.get("/info")).status == 200
    assert (await unserved.at.call("GET", "/readyz")).status == 200
    assert (await unserved.at.call("GET", "/api/0/info")).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": ""}],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/1/info"),
        ("GET", "/api/1/nothing"),
        ("PUT", "/api/1/info"),
        ("POST", "/api/1/prelogin"),
        ("GET", "/healthz"),
        ("GET", "/api/1/openapi.json"),
    ],
)
async def test_a_page_that_rebinds_its_name_is_refused(
    local: Local, method: str, path: str, headers: dict[str, str]
) -> None:
    """The gateway's check of Host stands before every route."""
    answer = await local.at.call(method, path, headers=headers)

    assert answer.code == (403, "origin-refused")


async def test_a_page_of_another_site_cannot_write(local: Local) -> None:
    """A browser says where a write comes from; from another site it is refused."""
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = await local.at.post("/prelogin", {"username": "local"}, **headers)
        assert answer.code == (403, "origin-refused")
        read = await local.at.get("/info", **headers)
        assert read.status == 200
        assert "Access-Control-Allow-Origin" not in read.headers


async def test_it_has_every_loopback_name(local: Local) -> None:
    """A proof may name any name that this machine has for itself, and no other."""
    for name in ("127.0.0.1", "localhost", "[::1]"):
        await local.log_in(origin=f"http://{name}:{local.port}")
    signed = await local.transcript(Action.SESSION, origin="http://127.0.0.1:1")
    answer = await local.at.post(
        "/sessions",
        SessionRequest(
            username=LOCAL_USERNAME,
            by="client",
            signature=local.vault.keys.client_key.prove(signed),
            **proven(signed),
        ),
    )

    assert answer.code == (401, "proof-refused")


async def test_a_vault_that_follows_a_remote_takes_nothing(local: Local) -> None:
    """While the vault has a remote host, its own store is read-only here."""
    await bucket(local.vault)
    await insert(local.vault, (0, 1, b'{"app":"a"}'))
    await seal_all(local.vault)
    session = await local.log_in()
    client = local.vault.keys.client_id
    records = await session.read(client)
    login = await local.login_key()
    local.read_only = True

    append = await session.append(client, records)
    signed = await local.transcript(Action.DOCUMENT, body_of_document(b"x", None))
    put = await session.post(
        "/documents",
        DocumentRequest(
            document=b"x",
            keys_blob=None,
            by="login",
            signature=login.prove(signed),
            **proven(signed),
        ),
    )

    assert append.code == (409, "read-only")
    assert put.code == (409, "read-only")
    assert await session.read(client) == records
    local.read_only = False
    assert (await session.append(client, records)).status == 200


async def test_a_vault_cannot_be_deleted_there(local: Local) -> None:
    """Even with the passphrase: the vault's own account stays."""
    session = await local.log_in()
    login = await local.login_key()
    account_id = local.vault.keys.account_id
    signed = await local.transcript(Action.DELETE, body_of_delete(account_id))

    answer = await session.post(
        "/account/delete",
        DeleteRequest(by="login", signature=login.prove(signed), **proven(signed)),
    )

    assert answer.code == (400, "not-supported")
    assert (await session.get("/usage")).status == 200


async def test_the_vault_takes_note_of_another_client(tmp_path: Path) -> None:
    """A client that is added and writes through /api/1 is verified and shown."""
    async with account_of(tmp_path) as (account, vault), gateway(vault) as local:
        await local.serve()
        noticing = asyncio.create_task(local.noticer.run(vault))
        session = await local.log_in()
        login = await local.login_key()
        laptop = await account.join("laptop")
        await bucket(laptop, "theirs")
        await insert(laptop, (0, 1, A), name="theirs")
        await seal_all(laptop, "theirs")
        writer = laptop.keys.client_id
        records = await laptop.replica.read(writer, start=Seq(0))

        document = account.documents[-1]
        signed = await local.transcript(
            Action.DOCUMENT, body_of_document(document, None)
        )
        put = await session.post(
            "/documents",
            DocumentRequest(
                document=document,
                keys_blob=None,
                by="login",
                signature=login.prove(signed),
                **proven(signed),
            ),
        )
        assert put.status == 201
        await until(lambda: writer in vault.replica.account.clients)
        assert (await session.append(writer, records)).status == 201
        await until(lambda: "theirs" in vault.buckets())

        assert (0, 1, A) in [tuple(row) for row in read(vault, "theirs")]
        noticing.cancel()
        await asyncio.gather(noticing, return_exceptions=True)


async def test_what_came_while_the_vault_was_locked_is_noticed(
    tmp_path: Path,
) -> None:
    """A start takes note of what the API took before the passphrase was there."""
    async with account_of(tmp_path) as (account, vault):
        laptop = await account.join("laptop")
        await bucket(laptop, "theirs")
        await seal_all(laptop, "theirs")
        writer = laptop.keys.client_id
        records = await laptop.replica.read(writer, start=Seq(0))
        await vault.store.put_document(
            vault.keys.account_id,
            version=2,
            document=account.documents[-1],
            document_hash=hash_document(account.documents[-1]),
            keys_blob=None,
        )
        await vault.store.append(vault.keys.account_id, records)
        assert "theirs" not in vault.buckets()

        await take_note(vault)

        assert "theirs" in vault.buckets()
        assert vault.replica.heads()[writer].hash == records[-1].hash


async def test_what_the_vault_seals_wakes_who_waits(local: Local) -> None:
    """A record that the vault appends itself is noticed within seconds."""
    await bucket(local.vault)
    await insert(local.vault, (0, 1, b'{"app":"a"}'))
    session = await local.log_in()
    waiting = asyncio.create_task(session.get("/changes?version=1&wait=30"))
    await session.get("/usage")

    await seal_all(local.vault)

    async with asyncio.timeout(10):
        assert (await waiting).as_(ChangesAnswer).entries > 0


async def test_the_real_aw_server_serves_it(tmp_path: Path) -> None:
    """`aw-server` answers /api/1 beside /api/0, and ends quickly with who waits."""
    with home(tmp_path, root=Root.TESTING) as machine:
        server = await asyncio.to_thread(machine.serve)
        async with visitor(server.url) as at:
            assert (await at.get("/info")).as_(InfoAnswer) == InfoAnswer(
                api=1, registration="closed"
            )
            assert (await at.call("GET", "/api/0/info")).status == 200
            assert (await at.get("/heads")).code == (401, "session-invalid")
        status, seconds = await asyncio.to_thread(server.terminate)

    assert status == 0
    assert seconds < 5
