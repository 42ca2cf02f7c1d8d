"""Every operation of `awvault`, on a vault that this process has open."""

import asyncio
import contextlib
import itertools
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from awvault import tables
from awvault.account_service import AccountService
from awvault.accounts import Accounts
from awvault.apikeys import KeyRefusals
from awvault.columns.table import PAIR, EventTable
from awvault.errors import BucketNotFoundError, Error
from awvault.filter_service import FilterService
from awvault.history import Revision, read_history
from awvault.incoming import NewRows
from awvault.opening import PRODUCT, Composition, has_vault, open_found, open_vault
from awvault.passphrases import (
    FoundPassphrase,
    Source,
    describe_making,
    find_passphrase,
)
from awvault.processes import DataDirectory, NoVaultError
from awvault.query import parse_periods, run_query
from awvault.remote import RemoteNotes
from awvault.service import (
    DOCUMENT_HASH_DIGITS,
    AddRequest,
    AddResult,
    BucketInfo,
    DeletedBucket,
    EventsRequest,
    ExportRequest,
    FiltersInfo,
    FiltersRequest,
    FilterTestRequest,
    FilterTestResult,
    ImportResult,
    OnProgress,
    QueryRequest,
    RepairResult,
    ServerStatus,
    Status,
    StoreService,
    SyncResult,
    Undeleted,
    UndeleteRequest,
    VerifyRequest,
    VerifyResult,
    counted,
)
from awvault.settings import Settings, prepare_data_dir
from awvault.store_service import DatabaseService
from awvault.sync.running import SyncRunner
from awvault.sync.schedule import Schedule
from awvault.sync_service import SyncService
from awvault.terminals import find_terminal
from awvault.transfer.exporting import export_lines, rows_of
from awvault.transfer.importing import Importer
from awvault.transfer.lines import event_fields, timestamp
from awvault.transfer.parts import decode_part
from awvault.verifying import verify
from awvault.view import read_view

if TYPE_CHECKING:
    from awvault.vault import Facts, Vault

PAGE_EVENTS: Final = 4_096
PIECE_BYTES: Final = 1024 * 1024
"""Of the text of a query's answer, what is sent at once."""

CLIENT_NAME: Final = "awvault"
"""What buckets made by `awvault add` name as their client."""


class VaultService(AccountService, DatabaseService):
    """A `Service` on an open vault."""

    def __init__(
        self,
        vault: "Vault",
        settings: Settings,
        found: FoundPassphrase,
        *,
        composition: Composition = PRODUCT,
        server_url: str | None = None,
        key_refusals: KeyRefusals | None = None,
    ) -> None:
        """Answer for `vault`; `server_url`: where this process is aw-server.

        `key_refusals` are those of its gateway.
        """
        notes = RemoteNotes(vault.database, vault.keys, random=composition.random)
        schedule = Schedule(settings.sync_schedule)
        self._runner = SyncRunner(
            vault, notes, schedule=schedule, clock=composition.clock
        )
        vault.filters.configure(settings.privacy_filters)
        DatabaseService.__init__(self, vault.database)
        AccountService.__init__(
            self,
            vault,
            Accounts(
                vault,
                profile=composition.profile,
                random=composition.random,
                step=composition.step,
            ),
            found,
            remote_changed=self._runner.remote_changed,
        )
        self._sync = SyncService(
            vault, notes, self._runner, schedule=schedule, clock=composition.clock
        )
        self._filters = FilterService(vault)
        self._data_dir = settings.data_dir
        self._passphrase_source = found.source
        self._passphrase_path = found.path
        self._key_refusals = key_refusals
        self._server = None
        if server_url is not None:
            started = time.time_ns() // 1_000_000_000 * 1_000_000
            self._server = ServerStatus(
                pid=os.getpid(), started=timestamp(started), url=server_url
            )

    def start_sync(self) -> None:
        """Meet the host by the schedule from now on, where there is one."""
        self._runner.start()

    async def close(self) -> None:
        """End what is under way with the host. The vault stays open."""
        await self._runner.close()

    async def sync(self, on_progress: OnProgress) -> SyncResult:
        """See `Service.sync`."""
        return await self._sync.sync(on_progress)

    async def repair(self, on_progress: OnProgress) -> RepairResult:
        """See `Service.repair`."""
        return await self._sync.repair(on_progress)

    async def status(self) -> Status:
        """See `Service.status`."""
        await self._vault.settle()
        facts = self._vault.facts()
        usage = await self.usage()
        newest = self._vault.keys.standing.known.newest
        source = self._passphrase_source
        path = self._passphrase_path
        infos = await self.buckets()
        return Status(
            data_dir=str(self._data_dir),
            account_id=facts.account_id,
            client_id=facts.client_id,
            client_number=facts.client_number,
            epoch=facts.epoch,
            document_version=newest.document.version,
            document_hash=newest.hash.hex()[:DOCUMENT_HASH_DIGITS],
            buckets=facts.buckets,
            events=sum(info.events for info in infos),
            records=facts.records,
            journal_rows=facts.journal_rows,
            journal_events=facts.journal_events,
            stored_bytes=usage.stored_bytes,
            problems=_problems(facts) + await self._filters.problems(),
            clients=self._sync.clients(),
            remote=self._sync.status(),
            passphrase_source=source.value,
            machine_holds_passphrase=source in {Source.FILE, Source.GENERATED_FILE},
            passphrase_file=None if path is None else str(path),
            server=self._server_status(),
        )

    def _server_status(self) -> ServerStatus | None:
        refusals = self._key_refusals
        if self._server is None or refusals is None or refusals.last is None:
            return self._server
        return msgspec.structs.replace(
            self._server,
            refused_without_key=refusals.count,
            last_refused=timestamp(refusals.last * 1_000_000),
        )

    async def buckets(self) -> list[BucketInfo]:
        """See `Service.buckets`."""
        vault = self._vault
        await vault.settle()
        found = []
        for bucket_id, bucket in sorted(vault.buckets().items()):
            updated = vault.last_updated(bucket_id)
            found.append(
                BucketInfo(
                    id=bucket_id,
                    type=bucket.type,
                    client=bucket.client,
                    hostname=bucket.hostname,
                    created=bucket.created.isoformat().replace("+00:00", "Z"),
                    last_updated=None if updated is None else timestamp(updated),
                    events=vault.count(bucket_id),
                    client_label=bucket.client_label,
                    own=bucket.own,
                )
            )
        return found

    async def deleted_buckets(self) -> list[DeletedBucket]:
        """See `Service.deleted_buckets`."""
        vault = self._vault
        await vault.settle()
        found = []
        for number, bucket in vault.hidden_buckets().items():
            view = vault.hidden_view(number)
            newest = await asyncio.to_thread(
                read_view,
                view,
                start=None,
                end=None,
                limit=1,
                order="newest",
                clip=False,
            )
            found.append(
                DeletedBucket(
                    number=number,
                    id=bucket.id,
                    type=bucket.type,
                    client=bucket.client,
                    hostname=bucket.hostname,
                    created=bucket.created.isoformat().replace("+00:00", "Z"),
                    last_updated=(
                        timestamp(int(newest.end()[0])) if len(newest) else None
                    ),
                    events=view.count(start=None, end=None),
                    client_label=bucket.client_label,
                    own=bucket.own,
                )
            )
        return found

    async def undelete(self, request: UndeleteRequest) -> Undeleted:
        """See `Service.undelete`."""
        if request.event_ids:
            return await self._undelete_events(request.bucket, request.event_ids)
        vault = self._vault
        await vault.settle()
        hidden = vault.hidden_buckets()
        # A bucket can be called like another one's number: the number comes first.
        numbers = [number for number in hidden if str(number) == request.bucket] or [
            number for number, bucket in hidden.items() if bucket.id == request.bucket
        ]
        if not numbers:
            raise NotDeletedError(f'no deleted bucket is called "{request.bucket}"')
        if len(numbers) > 1:
            raise NotDeletedError(
                f'{len(numbers)} deleted buckets are called "{request.bucket}":'
                " name one by its number"
            )
        shown = await vault.show_bucket(numbers[0], name=request.name)
        return Undeleted(
            bucket=shown, before=hidden[numbers[0]].id, events=vault.count(shown)
        )

    async def _undelete_events(self, bucket_id: str, event_ids: list[int]) -> Undeleted:
        for done, event_id in enumerate(event_ids):
            if await self._vault.show_event(bucket_id, event_id) is None:
                raise EventNotDeletedError(bucket_id, event_id, done)
        return Undeleted(bucket=bucket_id, before=bucket_id, events=len(event_ids))

    async def events(self, request: EventsRequest) -> AsyncGenerator[bytes, None]:
        """See `Service.events`."""
        if request.history:
            async for item in self._history(request):
                yield item
            return
        table = await self._vault.read_async(
            request.bucket, start=request.start, end=request.end, limit=request.limit
        )
        for at in range(0, len(table), PAGE_EVENTS):
            page = table.take(slice(at, at + PAGE_EVENTS))
            for item in await asyncio.to_thread(_event_items, page):
                yield item

    async def _history(self, request: EventsRequest) -> AsyncIterator[bytes]:
        await self._vault.settle()
        revisions = read_history(
            self._vault.view(request.bucket),
            start=request.start,
            end=request.end,
            limit=request.limit,
        )
        while page := await asyncio.to_thread(
            lambda: list(itertools.islice(revisions, PAGE_EVENTS))
        ):
            for revision in page:
                yield self._revision_item(revision)

    def _revision_item(self, revision: Revision) -> bytes:
        row = revision.row
        said = msgspec.json.encode(
            {
                "revision": row.revision,
                "change": revision.change,
                "client": self._vault.client_label(revision.client_number),
                "current": revision.counts,
            }
        )
        event = event_fields(
            event_id=row.id,
            start=row.start,
            duration=row.duration,
            pair=bool(row.flags & PAIR),
            stored_at=row.stored_at,
            text=row.text,
        )
        return b"%b,%b}" % (said[:-1], event)

    async def query(self, request: QueryRequest) -> AsyncGenerator[bytes, None]:
        """See `Service.query`."""
        periods = parse_periods(request.periods, field="period")
        answer = await run_query(self._vault, request.query, periods)
        async for piece in answer.pieces():
            for at in range(0, len(piece), PIECE_BYTES):
                yield msgspec.json.encode(piece[at : at + PIECE_BYTES])

    async def add(self, request: AddRequest) -> AddResult:
        """See `Service.add`."""
        created = False
        if request.bucket_type is not None:
            created = await self._vault.create_bucket(
                request.bucket,
                type=request.bucket_type,
                client=CLIENT_NAME,
                hostname=socket.gethostname(),
            )
        start = time.time_ns() // 1_000 if request.start is None else request.start
        try:
            kept = await self._vault.filters.rows(
                request.bucket,
                NewRows(
                    starts=[start],
                    durations=[-1 if request.duration is None else request.duration],
                    texts=[request.data.encode("utf-8", "surrogatepass")],
                ),
            )
            if not kept.rows.starts:
                raise FilteredError("a privacy filter drops this event: it is not kept")
            ids = await self._vault.insert_rows(request.bucket, kept.rows)
        except BucketNotFoundError as error:
            raise BucketMissingError(
                f'there is no bucket "{error.bucket_id}"'
            ) from error
        return AddResult(
            id=ids[0],
            bucket=request.bucket,
            bucket_created=created,
            timestamp=timestamp(start),
        )

    async def filters(self) -> FiltersInfo:
        """See `Service.filters`."""
        return await self._filters.filters()

    async def set_filters(self, request: FiltersRequest) -> FiltersInfo:
        """See `Service.set_filters`."""
        return await self._filters.set_filters(request)

    async def try_filters(self, request: FilterTestRequest) -> FilterTestResult:
        """See `Service.try_filters`."""
        return await self._filters.try_filters(request)

    def export_lines(self, request: ExportRequest) -> AsyncGenerator[bytes, None]:
        """See `Service.export_lines`."""
        return export_lines(self._vault, request)

    async def import_parts(
        self, parts: AsyncIterator[bytes], on_progress: OnProgress
    ) -> ImportResult:
        """See `Service.import_parts`."""
        return await Importer(self._vault, on_progress).run(
            decode_part(part) async for part in parts
        )

    async def verify(
        self, request: VerifyRequest, on_progress: OnProgress
    ) -> VerifyResult:
        """See `Service.verify`."""
        await self._vault.settle()
        here = await verify(
            self._vault.database, self._vault.store, self._vault.keys, on_progress
        )
        return msgspec.structs.replace(
            here, host=await self._sync.verify_host(request, on_progress)
        )


def _problems(facts: "Facts") -> list[str]:
    """Say what is damaged or must be done, and what to do."""
    problems = [
        f"a log is damaged and shown up to there: {reason}; run awvault verify"
        for reason in facts.stopped_logs
    ]
    if facts.revoked:
        problems.append(
            "this client was revoked: what it records stays in its journal, and is"
            " seen nowhere else"
        )
    elif facts.new_secret_needed:
        problems.append(
            "the account's keys were replaced on another client: prove the new"
            " passphrase with `awvault passphrase check`; nothing is sealed until then"
        )
    elif facts.passphrase_changed:
        problems.append(
            "the passphrase was changed on another client: prove the new one with"
            " `awvault passphrase check`"
        )
    if facts.unreadable_records:
        problems.append(
            f"{facts.unreadable_records} records were sealed by a faulty client and"
            " cannot be read: run awvault verify"
        )
    if facts.repeated_journal_rows:
        problems.append(
            f"{facts.repeated_journal_rows} journal rows repeat what records hold, and"
            " are not shown: somebody, or a partial restore, put them back"
        )
    if facts.damaged_journal_rows:
        problems.append(
            f"{facts.damaged_journal_rows} journal rows do not open: run awvault verify"
        )
    return problems


class BucketMissingError(Error):
    """`add` names a bucket that is not there, and no type to make it with."""

    hint = "name its type with --type to make it; `awvault buckets` lists what is there"


class NotDeletedError(Error):
    """`undelete` names a bucket that was not deleted, or more than one."""

    hint = "`awvault buckets --deleted` lists what was deleted, with its numbers"


class EventNotDeletedError(Error):
    """`undelete` names an event that was not deleted."""

    def __init__(self, bucket_id: str, event_id: int, done: int) -> None:
        """Say which, and how many of those before it came back."""
        super().__init__(f'"{bucket_id}" has no deleted event {event_id}')
        self.hint = "`awvault events BUCKET --history` lists them, with their ids"
        if done:
            self.hint += f"; {counted(done, 'event')} before it came back"


class FilteredError(Error):
    """`add` gives an event that may not be kept."""

    hint = "`awvault filter list` shows the rules"


class VaultExistsError(Error):
    """`init` finds a vault."""

    hint = "use it, or name another directory with --data-dir"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeVault:
    """What `init` made."""

    data_dir: str
    account_id: str
    client_id: str
    # What the person must be told.
    notes: list[str]


async def init(settings: Settings, *, composition: Composition = PRODUCT) -> MadeVault:
    """Make a vault. Raises `VaultExistsError` where there is one."""
    directory = DataDirectory(settings.data_dir)
    if has_vault(directory):
        raise VaultExistsError(f'there is a vault in "{settings.data_dir}" already')
    prepare_data_dir(settings)
    with directory.acquire():
        if has_vault(directory):
            raise VaultExistsError(f'there is a vault in "{settings.data_dir}" already')
        found = find_passphrase(settings, vault_exists=False, terminal=find_terminal())
        notes = describe_making(settings, found)
        vault = await open_vault(directory, found.passphrase, composition)
        try:
            facts = vault.facts()
        finally:
            await vault.close()
    return MadeVault(
        data_dir=str(settings.data_dir),
        account_id=facts.account_id,
        client_id=facts.client_id,
        notes=notes,
    )


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings,
    directory: DataDirectory,
    *,
    composition: Composition = PRODUCT,
    found: FoundPassphrase | None = None,
) -> AsyncIterator[VaultService]:
    """Open the vault in a directory that the caller holds, with its passphrase.

    `found` is one that was found before; a person is not asked for it twice.
    """
    if not has_vault(directory):
        raise NoVaultError(settings.data_dir)
    terminal = None
    if found is None:
        terminal = find_terminal()
        found = find_passphrase(settings, vault_exists=True, terminal=terminal)
    vault = await open_found(
        settings, directory, found, terminal=terminal, composition=composition
    )
    async with vault:
        service = VaultService(vault, settings, found, composition=composition)
        try:
            yield service
        finally:
            await service.close()


@contextlib.asynccontextmanager
async def open_store(directory: DataDirectory) -> AsyncIterator[StoreService]:
    """Open the database of a directory that the caller holds, without a key."""
    async with tables.opened(directory.database, create=False) as database:
        yield DatabaseService(database)


def _event_items(table: EventTable) -> list[bytes]:
    return [
        b"{%s}"
        % event_fields(
            event_id=event_id,
            start=start,
            duration=duration,
            pair=bool(flags & PAIR),
            stored_at=stored_at,
            text=table.texts[data],
        )
        for event_id, start, duration, flags, stored_at, data in rows_of(table)
    ]
