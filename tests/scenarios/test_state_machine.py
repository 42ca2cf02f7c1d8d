"""A random walk of several clients and their host, with lies, cuts and crashes (T43).

Whatever order writes, seals, rounds, crashes, restarts, cuts in the network,
wrong clocks, new clients and lies of the host come in:

* what a client shows is what was sealed, in order, once, and all that it wrote
  itself;
* a host that supplies less than a client has verified, or than another client's
  record speaks of, is caught;
* an honest host is never accused, however clients work at the same time;
* at the end, with an honest host, all show the same.

`SCENARIO_WALKS` says how many walks; `make walks` takes many.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import (
    HealthCheck,
    Phase,
    currently_in_test_context,
    event,
    settings,
)
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from awserver.records import Seq
from awvault.errors import HostRefusedError, TransportError
from awvault.incoming import NewRows
from awvault.sync.alarms import Name
from tests.helpers.fault_proxy import End, Fault, FaultProxy
from tests.helpers.lying_host import HONEST, Lie
from tests.helpers.vaults import SECOND, T0
from tests.scenarios.history import History, Row, Seal, Writer
from tests.scenarios.lies import (
    CHANGES,
    Altered,
    Change,
    Deaf,
    Forgetful,
    Longer,
    Noise,
    Shorter,
)
from tests.scenarios.walking import Client, World

WALKS: Final = int(os.environ.get("SCENARIO_WALKS", "10"))
STEPS_OF_A_WALK: Final = 30

# To make a failing walk short takes minutes: only where somebody asks for it.
PHASES: Final = (
    [Phase.explicit, Phase.generate, Phase.shrink]
    if "SCENARIO_SHRINK" in os.environ
    else [Phase.explicit, Phase.generate]
)
CLIENTS_MAX: Final = 3

BUCKETS: Final = {"window": "currentwindow", "web": "web.tab.current"}

T = TypeVar("T")

picks = st.integers(0, 10_000)
names = st.sampled_from(sorted(BUCKETS))
starts = st.integers(0, 40).map(lambda s: T0 + s * SECOND)
lengths = st.sampled_from([0, SECOND, 5 * SECOND])
steps = st.sampled_from(
    [
        ("begin", 1),
        ("work", 1),
        ("worked", 1),
        ("commit", 1),
        ("commit", 2),
        ("committed", 1),
        ("committed", 2),
        ("collected", 1),
        ("record-sealed", 1),
        ("records-inserted", 1),
        ("index-inserted", 1),
        ("journal-deleted", 1),
        ("stored", 1),
        ("accepted-records-inserted", 1),
        ("accepted-index-inserted", 1),
        ("accepted", 1),
        ("documents-inserted", 1),
    ]
)
faults = st.sampled_from(
    [
        Fault(delay_seconds=0.005),
        Fault(end=End.CLOSE, direction="down", in_body=True, after=40),
        Fault(end=End.RESET, direction="down", in_body=True, after=700),
        Fault(end=End.RESET, direction="up", in_body=True, after=100),
        Fault(end=End.CLOSE, direction="up", in_body=True, after=900),
        Fault(end=End.HALF, direction="down", in_body=True, after=20),
        Fault(end=End.HALF, direction="up", in_body=True, after=20),
        Fault(end=End.RESET, direction="up", after=0, connections=1),
        Fault(end=End.RESET, direction="down", after=0, connections=1),
        Fault(end=End.STALL, direction="down", in_body=True, after=30),
        Fault(seconds_per_byte=1.0, direction="down"),
    ]
)


class HostMachine(RuleBasedStateMachine):
    """The walk."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="walk-"))
        self.proxy = FaultProxy(0)
        self.proxy.__enter__()
        self.history = History()
        self.counter = itertools.count()
        self.world = self.run(World.begin(self.directory, self.proxy))
        self.history.writers.append(Writer())
        self.backups = 0
        self.may_alarm: dict[int, int] = {}
        """By client, for how many honest rounds it may still speak of its own log."""

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.release()

    def release(self) -> None:
        """End everything, in whatever state it is."""
        self.run(self.world.end())
        self.runner.close()
        self.proxy.__exit__(None, None, None)
        shutil.rmtree(self.directory)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def pick(self, pick: int) -> Client:
        return self.world.clients[pick % len(self.world.clients)]

    def text(self) -> bytes:
        """Return data that no other version of any event has."""
        return b'{"n":%d}' % next(self.counter)

    # -- writes ------------------------------------------------------------------

    @initialize()
    def first(self) -> None:
        self.join(0, 3)
        self.create(0, "window")

    @rule(pick=picks, name=names)
    def create(self, pick: int, name: str) -> None:
        client = self.pick(pick)
        made = self.run(client.vault.create_bucket(name, type=BUCKETS[name]))
        assert made is (name not in client.buckets)
        client.buckets.add(name)

    @rule(
        pick=picks,
        name=names,
        spans=st.lists(st.tuples(starts, lengths), min_size=1, max_size=3),
    )
    def insert(self, pick: int, name: str, spans: list[tuple[int, int]]) -> None:
        client = self.pick(pick)
        if name not in client.buckets:
            return
        rows = [Row(name, start, length, self.text()) for start, length in spans]
        for event_id, row in zip(
            self.run(self._insert(client, rows)), rows, strict=True
        ):
            assert event_id not in self.history.events, "an id was given again"
            self.history.write(client.number, event_id, row)

    async def _insert(self, client: Client, rows: list[Row]) -> list[int]:
        return list(
            await client.vault.insert_rows(
                rows[0].bucket,
                NewRows(
                    starts=[row.start for row in rows],
                    durations=[row.duration for row in rows],
                    texts=[row.text for row in rows],
                ),
            )
        )

    @rule(pick=picks, name=names, start=starts, length=lengths, again=st.booleans())
    def beat(
        self, pick: int, name: str, start: int, length: int, *, again: bool
    ) -> None:
        """A heartbeat, of what the newest event says or of something else."""
        client = self.pick(pick)
        if name not in client.buckets:
            return
        newest = client.vault.read(name, limit=1)
        text = newest.texts[int(newest.data[0])] if again and len(newest) else None
        row = self.run(
            client.vault.heartbeat(
                name,
                start=start,
                duration=length,
                text=self.text() if text is None else text,
                pulsetime_us=10 * SECOND,
            )
        )
        now = Row(name, row.start, row.duration, row.text)
        before = self.history.visible(client.number).get(row.id)
        if before is None:
            assert row.id not in self.history.events, "an id was given again"
        else:
            assert (before.start, before.text) == (now.start, now.text)
            assert now.duration >= before.duration
        if now != before:
            self.history.write(client.number, row.id, now)

    def _visible(self, client: Client, pick: int) -> tuple[str, int, Row] | None:
        """Choose an event that a client shows; its bucket's name there, id, row."""
        visible = self.history.visible(client.number)
        if not visible:
            return None
        event_id = sorted(visible)[pick % len(visible)]
        for name in client.vault.buckets():
            if client.vault.event(name, event_id) is not None:
                return name, event_id, visible[event_id]
        raise AssertionError(f"event {event_id} is in no bucket")

    @rule(pick=picks, which=picks, start=starts, length=lengths)
    def correct(self, pick: int, which: int, start: int, length: int) -> None:
        """Correct an event, whoever made it."""
        client = self.pick(pick)
        found = self._visible(client, which)
        if found is None:
            return
        name, event_id, before = found
        row = Row(before.bucket, start, length, self.text())
        corrected = self.run(
            client.vault.correct(
                name, event_id, start=start, duration=length, text=row.text
            )
        )
        assert corrected is not None
        self.history.write(client.number, event_id, row)

    @rule(pick=picks, which=picks)
    def delete(self, pick: int, which: int) -> None:
        client = self.pick(pick)
        found = self._visible(client, which)
        if found is None:
            return
        name, event_id, _ = found
        assert self.run(client.vault.delete_event(name, event_id))
        self.history.write(client.number, event_id, None)

    # -- what a client does ------------------------------------------------------

    @rule(pick=picks)
    def seal(self, pick: int) -> None:
        client = self.pick(pick)
        self.run(client.seal())
        self._note_seal(client)

    def _note_seal(self, client: Client) -> None:
        """Note what a client's new records hold, if it has any."""
        seq = client.heads().get(client.client_id, -1)
        writer = self.history.writers[client.number]
        if seq == (writer.seals[-1].seq if writer.seals else -1):
            return
        numbers = self._numbers()
        writer.seals.append(
            Seal(
                seq=seq,
                written=len(writer.written),
                seen={
                    numbers[other]: head
                    for other, head in client.heads().items()
                    if other != client.client_id
                },
                version=client.vault.replica.account.document.version,
            )
        )

    def _numbers(self) -> dict[bytes, int]:
        return {client.client_id: client.number for client in self.world.clients}

    @rule(pick=picks)
    def sync(self, pick: int) -> None:
        """One round with an honest host: nothing is said against it."""
        client = self.pick(pick)
        done = self.run(client.round())
        self._check_unaccused(client)
        self.may_alarm[client.number] = max(self.may_alarm.get(client.number, 0) - 1, 0)
        assert done.entries >= len(client.heads())

    @rule()
    def sync_together(self) -> None:
        """All clients at once."""

        async def together() -> None:
            await asyncio.gather(*(client.round() for client in self.world.clients))

        self.run(together())
        for client in self.world.clients:
            self._check_unaccused(client)

    def _check_unaccused(self, client: Client) -> None:
        allowed = {Name.OWN_LOG_SHORTENED} if self.may_alarm.get(client.number) else {}
        accusations = [name for name in client.alarms() if name not in allowed]
        assert not accusations, client.notes.load()

    @rule(pick=picks)
    def reopen(self, pick: int) -> None:
        client = self.pick(pick)
        self.run(client.reopen())

    @rule(pick=picks, hours=st.integers(-100, 100))
    def set_clock(self, pick: int, hours: int) -> None:
        self.pick(pick).hours = hours

    @precondition(lambda self: len(self.world.clients) < CLIENTS_MAX)
    @rule(pick=picks, hours=st.integers(-100, 100))
    def join(self, pick: int, hours: int) -> None:
        through = self.pick(pick)
        self.run(through.round())  # an edit begins with what the host has
        label = f"client {len(self.world.clients)}"
        self.run(self.world.join(through, hours=hours, label=label))
        self.history.writers.append(Writer())

    @rule(pick=picks)
    def change_passphrase(self, pick: int) -> None:
        through = self.pick(pick)
        self.run(through.round())
        self.run(self.world.change_passphrase(through))

    # -- what goes wrong ---------------------------------------------------------

    @rule(pick=picks, fault=faults)
    def sync_through_trouble(self, pick: int, fault: Fault) -> None:
        """The network is cut, slow or gone; nobody is accused for that."""
        client = self.pick(pick)
        self.proxy.set(fault)
        with contextlib.suppress(TransportError):
            self.run(client.round())
        self.proxy.drop()
        self.proxy.heal()
        self._check_unaccused(client)

    @rule(pick=picks)
    def sync_without_host(self, pick: int) -> None:
        client = self.pick(pick)
        self.proxy.refuse()
        self.proxy.drop()
        with pytest.raises(TransportError):
            self.run(client.round())
        self.proxy.accept()
        self._check_unaccused(client)

    @rule(pick=picks, moment=st.integers(0, 60))
    def restart_host_under_a_round(self, pick: int, moment: int) -> None:
        client = self.pick(pick)

        async def both() -> None:
            going = asyncio.create_task(client.round())
            for _ in range(moment):
                await asyncio.sleep(0)
            await self.world.host.restart()
            with contextlib.suppress(TransportError):
                await going

        self.run(both())
        self._check_unaccused(client)

    @rule(
        pick=picks,
        step=steps,
        name=names,
        spans=st.lists(st.tuples(starts, lengths), min_size=1, max_size=3),
    )
    def crash_in_an_insert(
        self,
        pick: int,
        step: tuple[str, int],
        name: str,
        spans: list[tuple[int, int]],
    ) -> None:
        client = self.pick(pick)
        if name not in client.buckets:
            return
        rows = [Row(name, start, length, self.text()) for start, length in spans]
        given: list[int] = []

        async def insert() -> None:
            given.extend(await self._insert(client, rows))

        client.steps.arm(*step)
        self.run(client.crash(insert()))
        # Acknowledged, it is there; else it is there whole, or not at all.
        found = {row.text: event_id for event_id, row in client.shown().items()}
        there = [row for row in rows if row.text in found]
        assert there in ([], rows)
        assert not given or there
        for row in there:
            self.history.write(client.number, found[row.text], row)

    @rule(pick=picks, step=steps)
    def crash_in_a_seal(self, pick: int, step: tuple[str, int]) -> None:
        client = self.pick(pick)
        client.steps.arm(*step)
        self.run(client.crash(client.seal()))
        self._note_seal(client)

    @rule(pick=picks, step=steps)
    def crash_in_a_round(self, pick: int, step: tuple[str, int]) -> None:
        client = self.pick(pick)
        client.steps.arm(*step)
        self.run(client.crash(client.round()))
        self._check_unaccused(client)

    # -- a host that is restored from a backup -------------------------------------

    @precondition(lambda self: self.backups < 3)
    @rule()
    def back_up_host(self) -> None:
        self.backups += 1
        self.run(self.world.host.save(f"backup-{self.backups}"))

    @precondition(lambda self: self.backups)
    @rule(which=picks, by=picks)
    def restore_host(self, which: int, by: int) -> None:
        """An old backup is put back: who knows more says so; one repair mends it."""
        name = f"backup-{which % self.backups + 1}"
        self.run(self.world.host.put_back(name))
        for client in self.world.clients:
            # Each upload of its own mends something, so what is there is asked again.
            heads, version = self.run(self.world.stored())
            less = client.version > version or any(
                self._known(client, whose) > heads.get(whose.client_id, -1)
                for whose in self.world.clients
            )
            with contextlib.suppress(HostRefusedError):
                self.run(client.round())
            _count(f"restored host, {'noticed' if client.alarms() else 'the same'}")
            assert bool(client.alarms()) is less
        newest = max(client.version for client in self.world.clients)
        able = [one for one in self.world.clients if one.version == newest]
        self.run(able[by % len(able)].repair())
        # The others need no command: what only they have, they upload by themselves.
        for _ in range(2):
            for client in self.world.clients:
                self.run(client.round())
        for client in self.world.clients:
            self.run(client.round())
            assert client.alarms() == []

    def _known(self, client: Client, whose: Client) -> int:
        """Return the newest seq that a client knows the host to have had."""
        if client is not whose:
            return client.heads().get(whose.client_id, -1)
        remote = client.notes.load()
        assert remote is not None
        return -1 if remote.acknowledged is None else remote.acknowledged.seq

    # -- lies --------------------------------------------------------------------

    def _round_under(self, client: Client, lie: Lie) -> bool:
        """Make a round with a lying host; return whether it was caught."""

        async def lied_to() -> None:
            with self.world.host.lying(lie):
                await client.round()

        with contextlib.suppress(TransportError, HostRefusedError):
            self.run(lied_to())
        assert self.world.host.lie is HONEST
        caught = bool(client.alarms())
        _count(f"{type(lie).__name__}, {'caught' if caught else 'not caught'}")
        # Honest again: the work goes on.
        self.check()
        self.may_alarm[client.number] = 2
        self.sync(client.number)
        return caught

    @rule(pick=picks, which=picks, cut=st.integers(1, 4))
    def host_hides_the_end(self, pick: int, which: int, cut: int) -> None:
        """The end of a log is not shown: noticed by whoever knows of it."""
        client, whose = self.pick(pick), self.pick(which)
        last = self.run(self.world.stored())[0].get(whose.client_id, -1)
        if last < 0:
            return
        seq = max(last - cut, -1)
        lie = Shorter(
            whose.client_id,
            seq,
            None if seq < 0 else self.world.hash_at(whose.client_id, seq),
        )
        before = client.heads()
        caught = self._round_under(client, lie)
        if lie.told and self._mentioned(client, whose, before) > seq:
            assert caught

    def record_more(self, client: Client, *, records: int) -> None:
        """Let a client have something new, so that there is something to lie about."""
        self.create(client.number, "window")
        for _ in range(records):
            self.insert(client.number, "window", [(T0, SECOND)])
            self.seal(client.number)

    def _mentioned(self, client: Client, whose: Client, before: dict[Any, int]) -> int:
        heads = {self._numbers()[c]: seq for c, seq in before.items()}
        known = heads.get(whose.number, -1) if client is not whose else -1
        for number, seq in heads.items():
            seal = self.history.writers[number].around(seq)
            if number != whose.number and seal is not None:
                known = max(known, seal.seen.get(whose.number, -1))
        return known

    @precondition(lambda self: len(self.world.clients) >= 3)
    @rule(pick=picks)
    def host_hides_what_another_has_seen(self, pick: int) -> None:
        """One client's record speaks of another's, which the host keeps back."""
        client, whose, witness = (self.pick(pick + at) for at in range(3))
        self.record_more(whose, records=1)
        self.sync(whose.number)
        self.sync(witness.number)
        self.record_more(witness, records=1)
        self.sync(witness.number)
        seq = client.heads().get(whose.client_id, -1)
        known = None if seq < 0 else self.world.hash_at(whose.client_id, seq)
        assert self._round_under(client, Shorter(whose.client_id, seq, known))

    @rule(pick=picks, which=picks, more=st.integers(1, 3))
    def host_promises_more(self, pick: int, which: int, more: int) -> None:
        client, whose = self.pick(pick), self.pick(which)
        if whose.client_id not in client.vault.replica.account.clients:
            return
        assert self._round_under(client, Longer(whose.client_id, more))

    @rule(pick=picks, which=picks, change=st.sampled_from(CHANGES), place=picks)
    def host_alters_records(
        self, pick: int, which: int, change: Change, place: int
    ) -> None:
        client, whose = self.pick(pick), self.pick(which)
        self.record_more(whose, records=3)
        self.sync(whose.number)
        lie = Altered(whose.client_id, change, place)
        caught = self._round_under(client, lie)
        assert caught or not lie.told

    @rule(pick=picks, deaf=st.booleans())
    def host_lies_about_storing(self, pick: int, *, deaf: bool) -> None:
        client = self.pick(pick)
        self.record_more(client, records=1)
        lie = Deaf(client.client_id) if deaf else Forgetful(client.client_id)
        caught = self._round_under(client, lie)
        assert caught or not lie.told

    @rule(pick=picks, every=st.integers(1, 6), kind=picks)
    def host_fails(self, pick: int, every: int, kind: int) -> None:
        """Errors, strangers' pages and redirects accuse nobody of a lie."""
        client = self.pick(pick)
        self._round_under(client, Noise(every, kind))

    # -- what must hold ----------------------------------------------------------

    @invariant()
    def check(self) -> None:
        numbers = self._numbers()
        for client in self.world.clients:
            heads = client.heads()
            for other, seq in heads.items():
                here = client.vault.replica.hash_at(other, Seq(seq))
                assert here == self.world.hash_at(other, seq)
            self.history.look(
                client.number,
                client.shown(),
                {
                    numbers[other]: seq
                    for other, seq in heads.items()
                    if other != client.client_id
                },
            )

    def end(self) -> None:
        """Everyone seals and syncs, until everything is everywhere."""
        for _ in range(2):
            for client in self.world.clients:
                self.seal(client.number)
                self.sync(client.number)
        for client in self.world.clients:
            self.sync(client.number)
            assert client.alarms() == []
        self.check()
        self.history.check_end([client.shown() for client in self.world.clients])


def _count(what: str) -> None:
    """Count something for `--hypothesis-show-statistics`."""
    if currently_in_test_context():
        event(what)


HostMachine.TestCase.settings = settings(
    max_examples=WALKS,
    stateful_step_count=STEPS_OF_A_WALK,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=PHASES,
)


TestHost = pytest.mark.timeout(300 + 20 * WALKS)(HostMachine.TestCase)
