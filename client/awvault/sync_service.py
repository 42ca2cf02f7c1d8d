"""The operations of `awvault` that concern the exchange with a host."""

from collections.abc import Sequence
from typing import Final

from awserver.records import ClientId
from awvault.errors import Error, HostRefusedError, NoRemoteError, TransportError
from awvault.remote import Alarm, Remote, RemoteNotes
from awvault.service import (
    AlarmInfo,
    ClientStatus,
    Finding,
    HostVerified,
    IncidentInfo,
    OnProgress,
    Progress,
    RemoteStatus,
    RepairResult,
    SyncResult,
    VerifyRequest,
)
from awvault.sync import rounds
from awvault.sync.alarms import is_integrity
from awvault.sync.repair import Repairer
from awvault.sync.running import SyncRunner
from awvault.sync.schedule import HOUR_SECONDS, Schedule
from awvault.transfer.lines import timestamp
from awvault.vault import Clock, Vault

SILENT_SLOTS: Final = 3
"""A client of which nothing came for so many slots is shown as silent."""


class SyncService:
    """Answers for an open vault and its host, if it has one."""

    def __init__(
        self,
        vault: Vault,
        notes: RemoteNotes,
        runner: SyncRunner,
        *,
        schedule: Schedule,
        clock: Clock,
    ) -> None:
        """Answer for `vault`, of whose host `notes` tell."""
        self._vault = vault
        self._notes = notes
        self._runner = runner
        self._schedule = schedule
        self._clock = clock

    async def sync(self, on_progress: OnProgress) -> SyncResult:
        """See `Service.sync`."""
        done = await self._runner.sync(_shown(on_progress))
        return SyncResult(
            pulled_records=done.pulled.records,
            pulled_events=done.pulled.events,
            unreadable_records=done.pulled.unreadable,
            pushed_records=done.pushed,
            schedule=self._schedule.value,
            alarms=self._alarms(done.alarms),
        )

    async def repair(self, on_progress: OnProgress) -> RepairResult:
        """See `Service.repair`."""
        done = await self._repairer(on_progress).repair()
        # What is missing here comes too, and what was mended ends its alarms.
        after = await self._runner.meet(_shown(on_progress))
        return RepairResult(
            documents=done.documents,
            records=done.records,
            logs=done.logs,
            conflicts=done.conflicts,
            alarms=self._alarms(after.alarms),
        )

    async def verify_host(
        self, request: VerifyRequest, on_progress: OnProgress
    ) -> HostVerified | None:
        """Check what the host holds; None: there is none, or nobody asked."""
        remote = self._notes.load()
        if remote is None or not request.host:
            return None
        try:
            done = await self._repairer(on_progress).check(bodies=request.full)
        except (TransportError, HostRefusedError) as error:
            return HostVerified(
                url=remote.url,
                documents=0,
                records=0,
                bodies=0,
                findings=[],
                unreachable=str(error),
            )
        return HostVerified(
            url=remote.url,
            documents=done.documents,
            records=done.records,
            bodies=done.bodies,
            findings=[
                Finding(where=f"host: {finding.where}", problem=finding.problem)
                for finding in done.findings
            ],
            unreachable=None,
        )

    def status(self) -> RemoteStatus | None:
        """Return how the exchange goes; None: this vault has no host."""
        try:
            remote = self._notes.load()
        except Error as error:
            return _unknown(self._schedule, str(error))
        if remote is None:
            return None
        state = self._runner.state()
        own = self._vault.replica.heads().get(self._vault.keys.client_id)
        known = remote.acknowledged
        alarms = self._alarms(remote.alarms)
        return RemoteStatus(
            url=remote.url,
            username=remote.username,
            schedule=self._schedule,
            state=_state(
                remote, alarms, failure=state.failure, unreachable=state.unreachable
            ),
            last_sync=None if remote.synced_us is None else timestamp(remote.synced_us),
            next_upload=(
                None
                if state.next_upload is None
                else timestamp(round(state.next_upload) * 1_000_000)
            ),
            pending_records=max(
                (-1 if own is None else own.seq) - (-1 if known is None else known.seq),
                0,
            ),
            failure=state.failure,
            alarms=alarms,
            incidents=[
                IncidentInfo(
                    at=timestamp(incident.at_us),
                    name=incident.name,
                    client_id=incident.client_id,
                    client_label=self._label(incident.client_id),
                    sentence=incident.sentence,
                )
                for incident in remote.incidents
            ],
            attempt_pending=remote.attempt is not None,
        )

    def clients(self) -> list[ClientStatus]:
        """Return every client of the account, by number."""
        try:
            remote = self._notes.load()
        except Error:
            remote = None
        heads = self._vault.replica.heads()
        account = self._vault.replica.account
        found = []
        for client_id, entry in account.clients.items():
            head = heads.get(client_id)
            own = client_id == self._vault.keys.client_id
            seen = None if remote is None else remote.seen.get(client_id.hex())
            found.append(
                ClientStatus(
                    client_id=client_id.hex(),
                    number=entry.number,
                    label=self._vault.replica.label(client_id),
                    own=own,
                    revoked=entry.revoked,
                    records=0 if head is None else head.seq + 1,
                    head_seq=None if head is None else head.seq,
                    head_hash=None if head is None else head.hash.hex(),
                    last_seen=None if seen is None else timestamp(seen),
                    silent=(
                        not own
                        and not entry.revoked
                        and seen is not None
                        and self._is_long_ago(seen)
                    ),
                )
            )
        return sorted(found, key=lambda client: client.number)

    def _repairer(self, on_progress: OnProgress) -> Repairer:
        remote = self._notes.load()
        if remote is None:
            raise NoRemoteError
        return Repairer(
            self._vault, self._runner.host(), remote.username, _shown(on_progress)
        )

    def _alarms(self, alarms: Sequence[Alarm]) -> list[AlarmInfo]:
        return [
            AlarmInfo(
                name=alarm.name,
                client_id=alarm.client_id,
                client_label=self._label(alarm.client_id),
                sentence=alarm.sentence,
                repair=alarm.repair,
                since=timestamp(alarm.since_us),
                integrity=is_integrity(alarm),
            )
            for alarm in alarms
        ]

    def _label(self, client_id: str | None) -> str | None:
        if client_id is None:
            return None
        return self._vault.replica.label(ClientId(bytes.fromhex(client_id))) or None

    def _is_long_ago(self, seen_us: int) -> bool:
        period = self._schedule.period_seconds or HOUR_SECONDS
        return self._clock() - seen_us > SILENT_SLOTS * period * 1_000_000


def _state(
    remote: Remote, alarms: list[AlarmInfo], *, failure: str | None, unreachable: bool
) -> str:
    if any(alarm.integrity for alarm in alarms):
        return "alarm"
    if alarms:
        return "attention"
    if failure is not None:
        return "unreachable" if unreachable else "failed"
    return "new" if remote.synced_us is None else "synced"


def _unknown(schedule: Schedule, failure: str) -> RemoteStatus:
    """Return the status of a vault whose notes cannot be read."""
    return RemoteStatus(
        url="",
        username="",
        schedule=schedule,
        state="failed",
        last_sync=None,
        next_upload=None,
        pending_records=0,
        failure=failure,
        alarms=[],
        incidents=[],
    )


def _shown(on_progress: OnProgress) -> rounds.OnProgress:
    """Pass the progress of a round on."""

    def show(progress: rounds.Progress) -> None:
        on_progress(
            Progress(phase=progress.phase, done=progress.done, total=progress.total)
        )

    return show
