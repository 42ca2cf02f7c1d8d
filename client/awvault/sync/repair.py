"""Putting back what a host lost, and checking all that it holds.

Every record is signed by its client and every document by its owner, so any client
can put back whatever it has verified, byte for byte: the host takes it from any of
them. Nothing on the host is overwritten: where it holds another history, that is
said, and left as it is.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from awserver.records import ClientId, Head, SealedRecord, Seq
from awserver.storage.base import APPEND_RECORDS_MAX
from awserver.wire import DOCUMENTS_MAX
from awvault.errors import (
    DocumentError,
    ForkError,
    HostRefusedError,
    IntegrityError,
    RollbackError,
    UnsupportedSuiteError,
    VaultDamagedError,
    WithheldError,
)
from awvault.protocol.account import VerifiedAccount, verify_documents
from awvault.protocol.document import hash_document, hash_keys_blob
from awvault.protocol.log import VerifiedLog
from awvault.sync.rounds import PUSH_BYTES, OnProgress, Progress, open_session
from awvault.sync.transport import HostClient, HostHeads, Prover
from awvault.vault import Vault

PROOF_REFUSED: Final = "proof-refused"

RESTORE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Account documents of one restore: as many as a host takes."""

CHECK_BYTES: Final = 2 * 1024 * 1024
"""Records that are checked in one go."""

_WRONG: Final = (IntegrityError, UnsupportedSuiteError)


@dataclass(slots=True, kw_only=True)
class Repaired:
    """What was put back, and what could not be."""

    documents: int = 0
    """Versions of the account document that the host lacked."""
    records: int = 0
    logs: int = 0
    """Logs that records were put back into."""
    conflicts: list[str] = field(default_factory=list)
    """Where the host holds something else; it was left as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFinding:
    """Something that is wrong on the host."""

    where: str
    problem: str


@dataclass(slots=True, kw_only=True)
class HostChecked:
    """What was looked at on the host, and what was wrong."""

    documents: int = 0
    records: int = 0
    bodies: int = 0
    findings: list[HostFinding] = field(default_factory=list)

    def found(self, where: str, problem: object) -> None:
        """Note something that is wrong."""
        self.findings.append(HostFinding(where=where, problem=str(problem)))


class Repairer:
    """Puts back what this client holds, and checks what the host holds."""

    def __init__(
        self, vault: Vault, host: HostClient, username: str, on_progress: OnProgress
    ) -> None:
        """Work on the account `username` at `host`."""
        self._vault = vault
        self._keys = vault.keys
        self._replica = vault.replica
        self._host = host
        self._username = username
        self._on_progress = on_progress

    @property
    def _account(self) -> VerifiedAccount:
        return self._keys.standing.known

    # -- repair --------------------------------------------------------------

    async def repair(self) -> Repaired:
        """Give the host every document and record that it lacks and this one has.

        Raises `HostRefusedError` where the host does not take them, and
        `TransportError`; what was put back until then stays. Again is no harm.
        """
        done = Repaired()
        await self._repair_documents(done)
        heads = await self._host.heads()
        for client_id, head in self._replica.heads().items():
            try:
                await self._repair_log(done, client_id, head, heads.head(client_id))
            except ForkError as error:
                done.conflicts.append(str(error))
            except HostRefusedError as error:
                done.conflicts.append(
                    f"log of client {client_id.hex()[:8]}: {error} ({error.code})"
                )
        return done

    async def _repair_documents(self, done: Repaired) -> None:
        ours = self._account.document.version
        try:
            await open_session(self._host, self._keys, self._username)
        except HostRefusedError as error:
            if error.code != PROOF_REFUSED:
                raise
            # It has no such account, or one that does not name this client yet.
            await self._restore(first=1)
            done.documents = ours
            await open_session(self._host, self._keys, self._username)
            return
        theirs = (await self._host.heads()).version
        last = min(ours, theirs)
        page = await self._host.documents(after=last - 1)
        if not page or hash_document(page[0]) != self._account.hashes[last - 1]:
            raise ForkError(f"account document version {last}")
        if theirs < ours:
            await self._restore(first=theirs + 1)
            done.documents = ours - theirs
            # Documents may end sessions; the client is proven anew.
            await open_session(self._host, self._keys, self._username)

    async def _restore(self, *, first: int) -> None:
        account_id = self._keys.account_id
        documents = await self._vault.store.documents(account_id, start_version=first)
        keys_blob = await self._vault.store.keys_blob(account_id)
        if keys_blob is None or not documents:
            raise VaultDamagedError(
                "the database holds no account documents to put back"
            )
        size = sum(map(len, documents))
        if size > RESTORE_BYTES_MAX or len(documents) > DOCUMENTS_MAX:
            raise HostRefusedError(
                f"{len(documents)} account documents of {size} bytes are more than a"
                f" host takes at once ({DOCUMENTS_MAX}, {RESTORE_BYTES_MAX} bytes)",
                code="limit-exceeded",
            )
        answer = await self._host.prelogin(self._username)
        await self._host.restore_documents(
            Prover(
                username=self._username,
                client_id=self._keys.client_id,
                salt=self._account.document.salt,
                nonce=answer.nonce,
            ),
            documents=documents,
            keys_blob=keys_blob,
            key=self._keys.client_key,
        )

    async def _repair_log(
        self, done: Repaired, client_id: ClientId, mine: Head, theirs: Head | None
    ) -> None:
        if theirs is not None:
            held = self._replica.hash_at(client_id, theirs.seq)
            if held is not None and held != theirs.hash:
                raise ForkError(
                    f"record {theirs.seq} of client {client_id.hex()[:8]}",
                    client_id=client_id,
                )
            if theirs.seq >= mine.seq:
                return
        seq = -1 if theirs is None else theirs.seq
        done.logs += 1
        while page := await self._replica.read(
            client_id, start=Seq(seq + 1), bytes_max=PUSH_BYTES
        ):
            page = page[:APPEND_RECORDS_MAX]
            answer = await self._host.append(client_id, page)
            done.records += answer.new
            seq = page[-1].header.seq
            self._on_progress(Progress(phase="repair", done=done.records, total=None))

    # -- check ---------------------------------------------------------------

    async def check(self, *, bodies: bool) -> HostChecked:
        """Verify every document and record on the host, and hold them against ours.

        Without `bodies`, headers, chains and signatures alone, which is a tenth of
        the bytes. Raises `HostRefusedError` and `TransportError`.
        """
        done = HostChecked()
        try:
            await open_session(self._host, self._keys, self._username)
            account = await self._check_documents(done)
        except _WRONG as error:
            done.found("account documents", error)
            return done
        heads = await self._host.heads()
        for client_id in account.clients:
            try:
                await self._check_log(done, account, client_id, heads, bodies=bodies)
            except _WRONG as error:
                done.found(f"log of client {client_id.hex()[:8]}", error)
        for client_id in heads.logs.keys() - account.clients.keys():
            done.found(
                f"log of client {client_id.hex()[:8]}",
                "the owner did not add this client; nothing of it is believed",
            )
        return done

    async def _check_documents(self, done: HostChecked) -> VerifiedAccount:
        account: VerifiedAccount | None = None
        while page := await self._host.documents(after=done.documents):
            account = await asyncio.to_thread(
                partial(verify_documents, self._keys.account_id, page)
                if account is None
                else partial(account.extended_by, page)
            )
            done.documents = account.document.version
        if account is None:
            raise RollbackError(
                "account document", verified=self._account.document.version, offered=0
            )
        account.check_pin(self._account.pin)
        blob = await self._host.keys_blob()
        if hash_keys_blob(blob) != account.document.keys_blob_hash:
            raise DocumentError("the keys blob is not the one that the document names")
        return account

    async def _check_log(
        self,
        done: HostChecked,
        account: VerifiedAccount,
        client_id: ClientId,
        heads: HostHeads,
        *,
        bodies: bool,
    ) -> None:
        log = VerifiedLog.of(account, client_id, self._keys.ring)
        claimed = heads.head(client_id)
        last = -1 if claimed is None else claimed.seq
        entry = account.clients[client_id]
        if entry.revoked:
            last = min(last, -1 if entry.final is None else entry.final.seq)
        while log.next_seq <= last:
            before = log.next_seq
            await self._check_page(done, log, last, bodies=bodies)
            if log.next_seq == before:
                raise WithheldError(
                    f"the log of client {client_id.hex()[:8]}",
                    mentioned=last + 1,
                    offered=before,
                    client_id=client_id,
                )
        if claimed is not None and claimed.seq == last and log.head != claimed:
            raise ForkError(f"record {last} of client {client_id.hex()[:8]}")
        mine = self._replica.heads().get(client_id)
        if mine is not None and mine.seq > last:
            raise RollbackError(
                f"log of client {client_id.hex()[:8]}",
                verified=mine.seq + 1,
                offered=last + 1,
            )

    async def _check_page(
        self, done: HostChecked, log: VerifiedLog, last: int, *, bodies: bool
    ) -> None:
        part: list[SealedRecord] = []
        size = 0
        records = self._host.read_log(
            log.client_id, after=log.next_seq - 1, bodies=bodies
        )
        async with contextlib.aclosing(records):
            async for record in records:
                if record.header.seq > last:
                    break  # it came after the heads that are checked
                part.append(record)
                size += len(record.encode())
                if size >= CHECK_BYTES:
                    await self._check_part(done, log, part, bodies=bodies)
                    part, size = [], 0
        await self._check_part(done, log, part, bodies=bodies)

    async def _check_part(
        self,
        done: HostChecked,
        log: VerifiedLog,
        part: Sequence[SealedRecord],
        *,
        bodies: bool,
    ) -> None:
        def verify() -> None:
            for record in part:
                if bodies:
                    log.accept(record)
                    done.bodies += 1
                else:
                    log.accept_header(record)
                done.records += 1

        await asyncio.to_thread(verify)
        for record in part:
            held = self._replica.hash_at(log.client_id, record.header.seq)
            if held is not None and held != record.hash:
                raise ForkError(
                    f"record {record.header.seq} of client {log.client_id.hex()[:8]}",
                    client_id=log.client_id,
                )
        self._on_progress(Progress(phase="verify", done=done.records, total=None))
