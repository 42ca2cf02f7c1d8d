"""One round with a host: session, documents, heads, pull, push, heads again.

A round brings in what other clients uploaded and sends what this one sealed. It
can be cut anywhere: what was verified is stored, and the next round goes on there.

Nothing that a host says is believed. Records and documents are verified by the
`Replica`; here what the host *claims* is held against what was verified before:
whether a log has become shorter, or another one, or lacks what a client's record
speaks of. Each such thing is an alarm, stops that one log, and never the others.
docs/protocol/sync.md, "What a client believes", has the rules.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from awserver.errors import SignatureInvalidError
from awserver.records import ClientId, Head, SealedRecord, Seq
from awserver.storage.base import APPEND_RECORDS_MAX, READ_BYTES_MAX
from awvault.crypto.envelope import verify_record
from awvault.errors import (
    DocumentError,
    EpochError,
    ForkError,
    HostRefusedError,
    IntegrityError,
    NewSecretNeededError,
    NoRemoteError,
    RollbackError,
    TransportError,
    UnsupportedSuiteError,
    WithheldError,
    WrongPlaceError,
)
from awvault.protocol.account import VerifiedAccount
from awvault.protocol.document import (
    LOCAL_USERNAME,
    decode_document,
    hash_document,
)
from awvault.protocol.mentions import (
    Mention,
    check_agrees,
    check_supplied,
    mention_of,
)
from awvault.remote import Alarm, Place, Remote, RemoteNotes
from awvault.replica import Accepted, Replica
from awvault.sync.alarms import Alarms, Name, recovery_key_of
from awvault.sync.transport import HostClient, HostHeads, Prover
from awvault.unlocked import Unlocked
from awvault.vault import Clock, Vault

log = logging.getLogger(__name__)

LOGS_AT_ONCE: Final = 4
"""Logs that are read at the same time."""

PART_BYTES: Final = 2 * 1024 * 1024
"""Records that are verified in one go, while the next come."""

PARTS_WAITING: Final = 2
"""Parts of one log that may wait to be verified; then its network waits."""

PUSH_BYTES: Final = 4 * 1024 * 1024
"""Records of one upload."""

DOCUMENT_TRIES: Final = 3
"""How often documents are fetched where they change while they are read."""

SESSION_INVALID: Final = "session-invalid"
SEQ_CONFLICT: Final = "seq-conflict"

# What stops one log, and is an alarm about it.
_STOPS_A_LOG: Final = (IntegrityError, UnsupportedSuiteError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a round is."""

    phase: str
    """"pull", "push" or "verify"."""
    done: int
    """Records."""
    total: int | None
    """None: not known beforehand. What a host says, so it may be wrong."""


_Mentions = Sequence[tuple[ClientId | None, Mention]]
"""With who says it; None: the account document."""

OnProgress = Callable[[Progress], None]


def ignore_progress(_progress: Progress) -> None:
    """Take progress that nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round did."""

    pulled: Accepted
    pushed: int
    """Records of this client that the host took."""
    alarms: Sequence[Alarm]
    """All that there are now, older ones included."""
    entries: int
    """What the host said of `changes`, at the end."""
    version: int


class Syncer:
    """Makes rounds with one host, one at a time."""

    def __init__(
        self, vault: Vault, notes: RemoteNotes, host: HostClient, *, clock: Clock
    ) -> None:
        """Keep what `vault` has and what `host` has the same."""
        self._keys = vault.keys
        self._replica = vault.replica
        self._notes = notes
        self._host = host
        self._clock = clock
        self._lock = asyncio.Lock()

    async def round(self, on_progress: OnProgress = ignore_progress) -> Round:
        """Make one round; return what it did.

        Raises `TransportError` where the host does not answer, and
        `HostRefusedError` where it does not know this client: what was exchanged
        until then counts. What the host was caught at does not raise: it is in the
        notes.
        """
        async with self._lock:
            remote = self._notes.load()
            if remote is None:
                raise NoRemoteError
            try:
                return await self._one(remote, on_progress)
            except HostRefusedError as error:
                if error.code != SESSION_INVALID:
                    raise
            # It ended: the host was restarted, or somebody ended it, or time did.
            self._host.forget_session()
            return await self._one(remote, on_progress)

    async def wait_for_change(
        self, *, entries: int, version: int, wait_seconds: int
    ) -> bool:
        """Return whether the host has something new; False once the time is up."""
        try:
            answer = await self._host.changes(
                entries=entries, version=version, wait_seconds=wait_seconds
            )
        except HostRefusedError as error:
            if error.code != SESSION_INVALID:
                raise
            return True  # the next round proves this client again
        return (answer.entries, answer.version) != (entries, version)

    async def _one(self, remote: Remote, on_progress: OnProgress) -> Round:
        running = _Running(self._keys, self._replica, self._host, remote, on_progress)
        complete = False
        try:
            heads = await running.run()
            complete = True
        finally:
            # Also when it was cut: what was caught, and what was acknowledged.
            now_us = self._clock()
            after = await self._notes.update(
                lambda before: running.noted(before, now_us=now_us, complete=complete)
            )
        alarms = [] if after is None else after.alarms
        return Round(
            pulled=running.pulled,
            pushed=running.pushed,
            alarms=alarms,
            entries=heads.entries,
            version=heads.version,
        )


async def open_session(host: HostClient, keys: Unlocked, username: str) -> int:
    """Prove this client's key to the host; return the version that it names.

    Raises `WrongPlaceError` if the host gives a session of another account.
    """
    answer = await host.prelogin(username)
    session = await host.open_session(
        Prover(
            username=username,
            client_id=keys.client_id,
            salt=answer.salt,
            nonce=answer.nonce,
        ),
        key=keys.client_key,
    )
    if session.account_id != keys.account_id:
        host.forget_session()
        raise WrongPlaceError(
            f"the host gave a session of account {session.account_id.hex()}, this is"
            f" {keys.account_id.hex()}"
        )
    return session.version


class _Running:
    """The state of one round."""

    def __init__(
        self,
        keys: Unlocked,
        replica: Replica,
        host: HostClient,
        remote: Remote,
        on_progress: OnProgress,
    ) -> None:
        self._keys = keys
        self._replica = replica
        self._host = host
        self._remote = remote
        self._on_progress = on_progress
        self._alarms = Alarms()
        self._came: set[ClientId] = set()
        """Clients of which records came."""
        self._unread = {keys.client_id}
        """Logs of which nobody can tell yet, or any more, what the host has: the own
        one until it was pushed, and those that a fault of the network, or keys that
        are not here, kept from being read."""
        self._acknowledged = remote.acknowledged
        self._told = recovery_key_of(self._account)
        self._expected = 0
        self._broken: Exception | None = None
        """What kept a log from being read to its end, though not its own fault."""
        self.pulled = Accepted()
        self.pushed = 0

    async def run(self) -> HostHeads:
        """Do all of it; return the heads that the host had at the end."""
        await self._session()
        await self._documents()
        mentions = self._mentions()
        heads = await self._host.heads()
        await self._pull(heads)
        # What was mentioned before, here already: the round may be cut below.
        await self._check_mentions(mentions, heads)
        await self._push(heads)
        heads = await self._host.heads()
        if heads.version > self._account.document.version:
            # Records may speak of a document that came after ours was read.
            await self._documents()
        self._check_claims(heads)
        # As they are now: what more is pulled may mention what came after it.
        await self._check_mentions(self._mentions(), heads)
        if self._broken is not None:
            raise self._broken
        return heads

    def noted(self, remote: Remote, *, now_us: int, complete: bool) -> Remote:
        """Return the notes as they are after this round.

        A round that was cut did not look at everything, so it ends no alarm.
        """
        seen = dict(remote.seen)
        seen.update((client_id.hex(), now_us) for client_id in self._came)
        told = remote.recovery_told or self._told
        remote = replace(remote, recovery_told=told)
        self._alarms.add_recovery(remote, self._account)
        alarms = self._alarms.all()
        if not complete:
            found = {alarm.key for alarm in alarms}
            alarms += [alarm for alarm in remote.alarms if alarm.key not in found]
        # It arrived, though nobody was told; or another version has its number.
        settled = remote.settled_by(self._account.document.version)
        return replace(
            settled.with_alarms(alarms, now_us=now_us),
            seen=seen,
            acknowledged=self._acknowledged,
            synced_us=now_us if complete else remote.synced_us,
        )

    @property
    def _account(self) -> VerifiedAccount:
        """The newest chain of documents that was verified."""
        return self._keys.standing.known

    def _is_registering(self) -> bool:
        """Say whether the host may never have heard of this account yet."""
        local = self._account.document.username == LOCAL_USERNAME
        return local and self._remote.attempt is not None

    # -- session and documents -----------------------------------------------

    async def _session(self) -> None:
        if self._host.has_session:
            return
        try:
            await open_session(self._host, self._keys, self._remote.username)
        except HostRefusedError as error:
            if not self._is_registering():
                self._alarms.add(Name.CLIENT_REFUSED, str(error), self._keys.client_id)
            raise
        except WrongPlaceError as error:
            self._alarms.add(Name.WRONG_ACCOUNT, str(error))
            raise HostRefusedError(str(error), code=Name.WRONG_ACCOUNT) from None

    async def _documents(self) -> None:
        """Believe later documents; the one that is pinned must still be there."""
        for tries_left in reversed(range(DOCUMENT_TRIES)):
            before = self._account.pin
            try:
                await self._adopt()
            except NewSecretNeededError as error:
                self._alarms.add_document_error(error)
            except DocumentError as error:
                # Another edit may have come between documents and blob.
                if tries_left and self._account.pin == before:
                    continue
                self._alarms.add_document_error(error)
            except _STOPS_A_LOG as error:
                self._alarms.add_document_error(error)
            return

    async def _adopt(self) -> None:
        chain = self._account
        version = chain.document.version
        page = await self._host.documents(after=version - 1)
        if not page:
            heads = await self._host.heads()
            raise RollbackError(
                "account document", verified=version, offered=heads.version
            )
        if hash_document(page[0]) != chain.newest.hash:
            _check_is_fork(chain, page[0])
        new = page[1:]
        page = new
        while page:
            # Verified before more is asked for: so a host cannot go on for ever.
            chain = await asyncio.to_thread(chain.extended_by, page)
            page = await self._host.documents(after=chain.document.version)
            new += page
        if not new:
            return
        keys_blob = await self._host.keys_blob()
        await self._replica.adopt(new, keys_blob)

    # -- others' logs ----------------------------------------------------------

    async def _pull(self, heads: HostHeads) -> None:
        unknown = heads.logs.keys() - self._account.clients.keys()
        if unknown:
            log.warning(
                "the host has logs of clients that the owner did not add: ignored",
                extra={"logs": len(unknown)},
            )
        mine = self._replica.heads()
        for client_id, claimed in heads.logs.items():
            if client_id in self._account.clients and client_id != self._keys.client_id:
                known = mine.get(client_id)
                behind = claimed.head.seq - (-1 if known is None else known.seq)
                self._expected += max(behind, 0)
        gate = asyncio.Semaphore(LOGS_AT_ONCE)

        async def one(client_id: ClientId) -> None:
            async with gate:
                await self._pull_log(
                    client_id, self._pull_to(client_id, heads.head(client_id))
                )

        # All of them to their end: one that fails is no reason to stop another.
        results = await asyncio.gather(
            *(
                one(client_id)
                for client_id in self._account.clients
                if client_id != self._keys.client_id
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _pull_log(
        self, client_id: ClientId, pulling: Coroutine[Any, Any, None]
    ) -> None:
        """Await what reads a log; note what stops it."""
        try:
            await pulling
        except EpochError as error:
            if self._keys.standing.awaiting is None:
                self._alarms.add_log_error(client_id, error)
            # Else it is sealed under keys that the owner did not let in here yet.
            self._unread.add(client_id)
        except _STOPS_A_LOG as error:
            self._alarms.add_log_error(client_id, error)
        except (TransportError, HostRefusedError) as error:
            self._broken = error
            self._unread.add(client_id)

    async def _pull_to(self, client_id: ClientId, claimed: Head | None) -> None:
        """Read a log up to the head that the host claims for it."""
        self._check_claim(client_id, claimed)
        if claimed is None:
            return
        last = self._last_that_counts(client_id, claimed.seq)
        while (after := self._next(client_id) - 1) < last:
            await self._pull_page(client_id, after=after)
            if self._next(client_id) - 1 == after:
                raise WithheldError(
                    f"the log of client {client_id.hex()[:8]}",
                    mentioned=claimed.seq + 1,
                    offered=after + 1,
                    client_id=client_id,
                )
        # It may have become longer since.
        self._check_claimed_hash(client_id, claimed)

    async def _pull_mentioned(self, client_id: ClientId, last: int) -> None:
        """Read a log up to a record that is mentioned, whatever the host claims."""
        while (after := self._next(client_id) - 1) < last:
            await self._pull_page(client_id, after=after)
            if self._next(client_id) - 1 == after:
                return

    def _check_claim(self, client_id: ClientId, claimed: Head | None) -> None:
        """Raise if the host claims less than was verified, or something else."""
        verified = self._replica.heads().get(client_id)
        if verified is None:
            return
        log_name = f"log of client {client_id.hex()[:8]}"
        if claimed is None:
            raise RollbackError(log_name, verified=verified.seq + 1, offered=0)
        self._check_claimed_hash(client_id, claimed)
        if claimed.seq < verified.seq:
            raise RollbackError(
                log_name, verified=verified.seq + 1, offered=claimed.seq + 1
            )

    def _check_claimed_hash(self, client_id: ClientId, claimed: Head) -> None:
        held = self._replica.hash_at(client_id, claimed.seq)
        if held is not None and held != claimed.hash:
            raise ForkError(
                f"record {claimed.seq} of client {client_id.hex()[:8]}",
                client_id=client_id,
            )

    async def _pull_page(self, client_id: ClientId, *, after: int) -> None:
        """Read one page; records are verified and stored while the next come."""
        if client_id not in self._replica.account.clients:
            raise EpochError("the client was added after the account's keys changed")
        parts: asyncio.Queue[list[SealedRecord] | None] = asyncio.Queue(PARTS_WAITING)
        reading = asyncio.create_task(self._read_page(client_id, after, parts))
        try:
            while (part := await parts.get()) is not None:
                accepted = await self._replica.accept(client_id, part)
                self.pulled += accepted
                if accepted.records:
                    self._came.add(client_id)
                self._on_progress(
                    Progress(
                        phase="pull", done=self.pulled.records, total=self._expected
                    )
                )
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read_page(
        self,
        client_id: ClientId,
        after: int,
        parts: asyncio.Queue[list[SealedRecord] | None],
    ) -> None:
        """Put a page's records into `parts`; if it breaks, those that came whole."""
        part: list[SealedRecord] = []
        part_bytes = 0
        broken: Exception | None = None
        try:
            records = self._host.read_log(
                client_id, after=after, bytes_max=READ_BYTES_MAX
            )
            async with contextlib.aclosing(records):
                async for record in records:
                    part.append(record)
                    part_bytes += len(record.body or b"")
                    if part_bytes >= PART_BYTES:
                        await parts.put(part)
                        part, part_bytes = [], 0
        except Exception as error:  # noqa: BLE001 - raised below, behind what came
            broken = error
        if part:
            await parts.put(part)
        await parts.put(None)
        if broken is not None:
            raise broken

    def _next(self, client_id: ClientId) -> int:
        """Return the seq that would be accepted next."""
        head = self._replica.heads().get(client_id)
        return 0 if head is None else head.seq + 1

    def _last_that_counts(self, client_id: ClientId, claimed: Seq) -> int:
        """Return the seq up to which a log is read: a revoked client's end."""
        entry = self._account.clients[client_id]
        if not entry.revoked:
            return claimed
        return min(claimed, -1 if entry.final is None else entry.final.seq)

    # -- this client's log ---------------------------------------------------

    async def _push(self, heads: HostHeads) -> None:
        client_id = self._keys.client_id
        if self._account.clients[client_id].revoked:
            return
        try:
            claimed = heads.head(client_id)
            await self._check_own(claimed)
            await self._push_after(-1 if claimed is None else claimed.seq)
            self._unread.discard(client_id)
        except ForkError as error:
            self._alarms.add(Name.OWN_LOG_ELSEWHERE, str(error), client_id)
        except RollbackError as error:
            self._alarms.add(Name.OWN_LOG_SHORTENED, str(error), client_id)
        except _STOPS_A_LOG as error:
            self._alarms.add_log_error(client_id, error)
        except HostRefusedError as error:
            if error.code == SESSION_INVALID:
                raise
            self._alarms.add_refusal(client_id, error)

    async def _check_own(self, claimed: Head | None) -> None:
        """Raise unless what the host has of this log is the beginning of it."""
        client_id = self._keys.client_id
        verified = self._replica.heads().get(client_id)
        if claimed is not None:
            held = self._replica.hash_at(client_id, claimed.seq)
            if held != claimed.hash:
                await self._blame(claimed, verified)
        before = self._acknowledged
        if before is not None and (claimed is None or claimed.seq < before.seq):
            offered = 0 if claimed is None else claimed.seq + 1
            self._alarms.add(
                Name.OWN_LOG_SHORTENED,
                f"the host acknowledged {before.seq + 1} records of this client before,"
                f" and had {offered}: the rest was uploaded again",
                client_id,
            )

    async def _blame(self, claimed: Head, verified: Head | None) -> None:
        """Raise for a log that is not ours: say whether our key signed it."""
        client_id = self._keys.client_id
        first_unknown = claimed.seq
        if verified is not None and claimed.seq > verified.seq:
            first_unknown = Seq(verified.seq + 1)
        records = self._host.read_log(
            client_id, after=first_unknown - 1, bytes_max=1, bodies=False
        )
        what = f"record {first_unknown} of this client"
        async with contextlib.aclosing(records):
            async for record in records:
                header = record.header
                if (header.client_id, header.seq) != (client_id, first_unknown):
                    break
                verify_record(self._keys.client_key.public, record)
                raise ForkError(what, client_id=client_id)
        raise WithheldError(
            f"the log of this client ({what} is not there, though it is named)",
            mentioned=claimed.seq + 1,
            offered=0 if verified is None else verified.seq + 1,
            client_id=client_id,
        )

    async def _push_after(self, seq: int) -> None:
        client_id = self._keys.client_id
        last = self._next(client_id) - 1
        total = last - seq
        while True:
            page = await self._replica.read(
                client_id, start=Seq(seq + 1), bytes_max=PUSH_BYTES
            )
            if not page:
                return
            page = page[:APPEND_RECORDS_MAX]
            head = Head(seq=page[-1].header.seq, hash=page[-1].hash)
            answer = await self._host.append(client_id, page)
            acknowledged = answer.head
            if acknowledged.seq < head.seq:
                raise RollbackError(
                    "log of this client, just uploaded",
                    verified=head.seq + 1,
                    offered=acknowledged.seq + 1,
                )
            # Where the log ends: another client may put it back at the same time.
            held = self._replica.hash_at(client_id, Seq(acknowledged.seq))
            if held is None or held.hex() != acknowledged.hash:
                raise ForkError(f"record {acknowledged.seq} of this client")
            seq = head.seq
            self._acknowledged = Place.of(head)
            self.pushed += answer.new
            self._on_progress(
                Progress(phase="push", done=total - last + seq, total=total)
            )

    # -- what clients have seen ------------------------------------------------

    def _check_claims(self, heads: HostHeads) -> None:
        """Hold what the host claims at the end against what was verified."""
        for client_id in self._account.clients:
            if client_id == self._keys.client_id or self._alarms.of_log(client_id):
                continue
            try:
                self._check_claim(client_id, heads.head(client_id))
            except _STOPS_A_LOG as error:
                self._alarms.add_log_error(client_id, error)
        mine = heads.head(self._keys.client_id)
        known = self._acknowledged
        if known is not None and (mine is None or mine.seq < known.seq):
            self._alarms.add(
                Name.OWN_LOG_SHORTENED,
                f"the host acknowledged {known.seq + 1} records of this client and"
                f" now has {0 if mine is None else mine.seq + 1}",
                self._keys.client_id,
            )

    def _mentions(self) -> _Mentions:
        """Return what the host has to supply to whoever asks from now on."""
        return [*self._replica.mentions().items(), (None, mention_of(self._account))]

    async def _check_mentions(self, mentions: _Mentions, heads: HostHeads) -> None:
        """Ask for what is mentioned and not here, and judge by what comes.

        What the host claims to have is not asked for, and proves nothing. `heads`,
        of which the claims are, came after `mentions`.
        """
        account = self._account
        for client_id, last in self._last_mentioned(mentions).items():
            if client_id not in self._unread and not self._alarms.of_log(client_id):
                await self._pull_log(client_id, self._pull_mentioned(client_id, last))
        supplied = self._supplied(heads)
        for writer, mention in mentions:
            try:
                check_agrees(
                    mention,
                    writer=writer,
                    account=account,
                    hash_at=self._replica.hash_at,
                )
                check_supplied(mention, writer=writer, account=account, heads=supplied)
            except (ForkError, WithheldError) as error:
                self._alarms.add_mention_error(error)

    def _last_mentioned(self, mentions: _Mentions) -> dict[ClientId, int]:
        """Return the last record that counts of each log that is mentioned."""
        last: dict[ClientId, int] = {}
        for writer, mention in mentions:
            for client_id, head in mention.seen.items():
                if client_id != writer and client_id in self._account.clients:
                    counts = self._last_that_counts(client_id, head.seq)
                    last[client_id] = max(last.get(client_id, -1), counts)
        return last

    def _supplied(self, heads: HostHeads) -> dict[ClientId, Head]:
        """Return the newest verified record of each log.

        For a log that could not be read, what the host claims to have: whether it is
        withheld cannot be known. For one that has an alarm too: it has one.
        """
        supplied = self._replica.heads()
        for client_id, claimed in heads.logs.items():
            known = supplied.get(client_id)
            if (known is None or known.seq < claimed.head.seq) and (
                client_id in self._unread or self._alarms.of_log(client_id)
            ):
                supplied[client_id] = claimed.head
        return supplied


def _check_is_fork(chain: VerifiedAccount, data: bytes) -> None:
    """Raise for a document in place of the pinned one: another, or none at all."""
    signed = decode_document(data)
    document = signed.document
    if document.version != chain.document.version:
        raise DocumentError(
            f"the host gave account document version {document.version} where"
            f" {chain.document.version} was asked for"
        )
    try:
        signed.verify_signature(chain.document.signing_public)
    except SignatureInvalidError as error:
        raise DocumentError(
            f"account document version {document.version}: {error}"
        ) from None
    raise ForkError(f"account document version {document.version}")
