"""What a host can know of its users is what docs/threat-model.md lists, and no more.

Three people keep accounts at one host, on the schedule `steady`: one whose machines
idle, one with an ordinary day, one with a day full of long titles. Everything that
the host stores, logs and is sent is taken apart. Between the first two nothing
differs; the third has larger records, in padded sizes. What was sealed, and every
key, is nowhere.
"""

import asyncio
import contextlib
import io
import logging
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from awserver.config import ServiceSettings
from awserver.logs import JsonFormatter
from awvault.crypto.padding import FLOOR_REMOTE_BYTES
from awvault.incoming import NewRows
from awvault.sync.running import SyncRunner
from awvault.sync.schedule import Schedule
from awvault.vault import Vault
from tests.adversarial.everything import DURATIONS_US, MOMENTS_US, TEXTS, needles
from tests.adversarial.mutants import TESTS_FAILED, Mutant, make_tree, mutant, run_test
from tests.helpers.canaries import Search
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.hosts import RunningHost, loose_settings, running_host
from tests.helpers.vaults import SECOND, T0
from tests.helpers.watching import search_for, watching
from tests.scenarios.knowledge import Fact, Observation, in_tables, in_traffic
from tests.scenarios.walking import Client, Owner

HOURS: Final = 4
HOUR_SECONDS: Final = 3600
THREAT_MODEL: Final = Path(__file__).parents[2] / "docs" / "threat-model.md"

pytestmark = pytest.mark.timeout(300)


class Hours:
    """A clock that runs when it is told to, and then as fast as can be."""

    def __init__(self) -> None:
        self.time = T0 / SECOND
        self._until = self.time
        self._more = asyncio.Event()
        self._waits = asyncio.Event()
        self.uploads: list[int] = []

    def now(self) -> float:
        return self.time

    def clock_us(self) -> int:
        return int(self.time * SECOND)

    async def sleep(self, seconds: float) -> None:
        while self.time + seconds > self._until:
            self._waits.set()
            self._more.clear()
            await self._more.wait()
        self.time += seconds
        await asyncio.sleep(0)

    async def pass_one(self) -> None:
        """Let an hour pass, and all that is due in it be done."""
        self._until += HOUR_SECONDS
        self._waits.clear()
        self._more.set()
        await self._waits.wait()


Day = Callable[[Vault, int], Awaitable[None]]


async def idle(_vault: Vault, _hour: int) -> None:
    """Nothing happens."""


async def ordinary(vault: Vault, hour: int) -> None:
    """A few windows, a tab, a correction."""
    await _make(vault, "w", "currentwindow", "h")
    await _make(vault, "t", "web.tab.current", "h")
    for at in range(3 + 4 * hour):
        await _insert(vault, "w", hour * 3600 + 60 * at, 50, b'{"app":"mail"}')
    await _insert(vault, "t", hour * 3600, 70, b'{"url":"https://a.example/"}')


async def busy(vault: Vault, hour: int) -> None:
    """Hundreds of titles, and every canary there is."""
    generator = random.Random(hour)
    window, web = TEXTS["bucket"], TEXTS["web bucket"]
    await _make(vault, window, TEXTS["event type"], TEXTS["hostname"])
    await _make(vault, web, "web.tab.current", TEXTS["hostname"])
    moments = list(MOMENTS_US.values())
    for at in range(150):
        title = f"{TEXTS['title']} {generator.randbytes(60 * (hour + 1)).hex()}"
        data = f'{{"app":"{TEXTS["app"]}","title":"{title}"}}'.encode()
        await _insert(vault, window, hour * 3600 + 20 * at, 15, data)
    for at, start in enumerate(moments):
        data = f'{{"url":"{TEXTS["url"]}","n":{at}}}'.encode()
        rows = NewRows(
            starts=[start, start],
            durations=[DURATIONS_US["insert duration"], -1],
            texts=[data, b'{"note":"%s"}' % TEXTS["activity note"].encode()],
        )
        first, second = await vault.insert_rows(web, rows)
        await vault.correct(
            web,
            first,
            start=MOMENTS_US["corrected time"],
            duration=DURATIONS_US["corrected duration"],
            text=b'{"title":"%s"}' % TEXTS["corrected title"].encode(),
        )
        await vault.delete_event(web, second)
    hidden = TEXTS["hidden bucket"]
    await _make(vault, hidden, "t", TEXTS["hostname"])
    await vault.hide_bucket(hidden)


async def _make(vault: Vault, name: str, kind: str, hostname: str) -> None:
    await vault.create_bucket(
        name,
        type=kind,
        client=TEXTS["client"],
        hostname=hostname,
        created_us=MOMENTS_US["bucket created"],
    )


async def _insert(
    vault: Vault, name: str, second: int, seconds: int, text: bytes
) -> None:
    await vault.insert_rows(
        name,
        NewRows(
            starts=[T0 + second * SECOND],
            durations=[seconds * SECOND],
            texts=[text],
        ),
    )


@dataclass
class User:
    """An owner with two machines, and all that the host gets from them."""

    owner: Owner
    day: Day
    proxy: FaultProxy
    label: str
    observations: list[Observation] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)

    def take_traffic(self) -> None:
        """Take apart what passed, and keep it for searches."""
        self.proxy.wait_for(lambda: True)
        for one in list(self.proxy.connections):
            up, down = bytes(one.up), bytes(one.down)
            self.observations += in_traffic(up, down)
            self.sent += up + b"\n" + down + b"\n"
        self.proxy.forget()


async def spend(user: User) -> None:
    """Register, add a machine, and let the hours pass."""
    owner = user.owner
    first = await owner.register()
    user.take_traffic()
    await first.round()
    await owner.join(first, label=user.label)
    user.take_traffic()
    async with contextlib.AsyncExitStack() as stack:
        running = [await _start(stack, client) for client in owner.clients]
        for hour in range(HOURS):
            for client, hours in running:
                await user.day(client.vault, hour)
                await hours.pass_one()
            user.take_traffic()
        for client, _ in running:
            assert client.heads()[client.client_id] == 2 * HOURS - 1


async def _start(
    stack: contextlib.AsyncExitStack, client: Client
) -> tuple[Client, Hours]:
    hours = Hours()
    runner = SyncRunner(
        client.vault,
        client.notes,
        schedule=Schedule.STEADY,
        clock=hours.clock_us,
        timer=hours,
    )
    stack.push_async_callback(runner.close)
    runner.start()
    return client, hours


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Give what the programs log at the level `debug`, as they write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger("awserver")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@dataclass
class Seen:
    """One host, and everyone who was there."""

    host: RunningHost
    directory: Path
    users: dict[str, User]
    log: str
    secrets: dict[bytes, str]

    def knowledge(self, name: str) -> list[Observation]:
        user = self.users[name]
        account = user.owner.clients[0].vault.keys.account_id
        stored = in_tables(self.directory / "host.db", account)
        return [*stored, *user.observations]

    def files(self) -> Iterator[tuple[str, bytes]]:
        for path in self.directory.rglob("*"):
            if path.is_file():
                yield path.name, path.read_bytes()

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Yield all bytes that the host ever had."""
        yield from self.files()
        yield "log", self.log.encode()
        for name, user in self.users.items():
            yield f"traffic of {name}", bytes(user.sent)


DAYS: Final[dict[str, tuple[Day, str, str]]] = {
    # username: day, label of the second machine, passphrase
    "ann": (idle, "x", "harbor velvet cactus tunnel orbit mango"),
    "bob": (ordinary, "the old laptop", "window marble coyote ribbon planet fox"),
    "eve": (busy, TEXTS["label"], TEXTS["passphrase"]),
}


@contextlib.asynccontextmanager
async def seen(root: Path) -> AsyncIterator[Seen]:
    with contextlib.ExitStack() as stack:
        proxies = {name: stack.enter_context(FaultProxy(0)) for name in DAYS}
        log = stack.enter_context(logged())
        secrets = stack.enter_context(watching())

        def settings(url: str) -> ServiceSettings:
            honest = loose_settings(url)
            origins = tuple(f"http://127.0.0.1:{p.port}" for p in proxies.values())
            return ServiceSettings(
                origins=origins,
                registration=honest.registration,
                prelogin=honest.prelogin,
                proofs=honest.proofs,
                registrations=honest.registrations,
                requests=honest.requests,
            )

        directory = root / "host"
        async with running_host(directory, settings=settings) as host:
            users = {}
            for name, (day, label, passphrase) in DAYS.items():
                proxies[name].retarget(host.port)
                owner = Owner(
                    root, proxies[name].port, username=name, passphrase=passphrase
                )
                users[name] = User(owner, day, proxies[name], label)
                await spend(users[name])
            yield Seen(host, directory, users, log.getvalue(), secrets)
            for user in users.values():
                await user.owner.close()


def differences(one: list[Observation], other: list[Observation]) -> set[Observation]:
    """Return what is known of one and not of the other."""
    a, b = Counter(one), Counter(other)
    return {*(a - b), *(b - a)}


async def test_what_the_host_can_know(tmp_path: Path) -> None:
    """Users with the same schedule differ in names, times and padded sizes alone."""
    async with seen(tmp_path) as what:
        ann, bob, eve = (what.knowledge(name) for name in ("ann", "bob", "eve"))
        assert len(ann) > 500

        # Idle or at work: it cannot be told.
        assert differences(ann, bob) == set()
        # What is large is seen to be large, in steps, and nothing else of it.
        different = differences(ann, eve)
        assert {one.fact for one in different} == {Fact.SIZES}
        bodies = {one.says for one in eve if one.place == "bodies.body"}
        assert len(bodies) > 2
        assert all(_is_padded(size) for size in bodies), bodies

        _check_content_is_nowhere(what)
        _check_log(what)


def _is_padded(size: object) -> bool:
    """Whether a body has a size of Padmé, the seal's own bytes aside."""
    assert isinstance(size, int)
    plain = size - 16
    bits = plain.bit_length() - 1
    free = bits - bits.bit_length()
    return plain >= FLOOR_REMOTE_BYTES and plain % (1 << free) == 0


def _check_content_is_nowhere(what: Seen) -> None:
    """No word, time, name of a machine, passphrase or key is in any byte."""
    canaries = Search(needles())
    secrets = search_for(what.secrets)
    for name, content in what.everything():
        canaries.check(name, content)
        secrets.check(name, content)
    assert canaries.bytes_seen > 1_000_000
    kinds = set(what.secrets.values())
    assert {"MasterKey", "EpochKey", "ClientKey", "Passphrase"} <= kinds
    # And it was there to be found: the vaults that sealed it show it.
    vault = what.users["eve"].owner.clients[1].vault
    shown = "".join(vault.buckets())
    assert TEXTS["bucket"] in shown
    assert TEXTS["web bucket"] in shown


def _check_log(what: Seen) -> None:
    """At its most talkative, the host's log names nobody's name or address."""
    for name in what.users:
        assert f'"{name}"' not in what.log
    assert "127.0.0.1" not in what.log


def test_the_list_is_the_documents() -> None:
    """docs/threat-model.md lists these facts, and no others."""
    page = THREAT_MODEL.read_text("utf-8")
    section = page.partition("## What a host learns\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^- \*\*([a-z ]+)\*\*", section, re.MULTILINE))
    assert listed == {fact.value for fact in Fact} - {Fact.NOTHING.value}


LOGGING: Final = """\
        import logging
        logging.getLogger("awserver.x").debug("in", extra={"user": request.username})
"""

MUTANTS: Final = (
    mutant(
        "T37",
        "records are not padded",
        "what_the_host_can_know",
        (
            "awvault.sealer",
            "floor_bytes=self.plan.floor_bytes,",
            "floor_bytes=0,",
        ),
    ),
    mutant(
        "T02",
        "a client tells how many buckets it has",
        "what_the_host_can_know",
        (
            "awvault.sync.channel",
            'headers = {"Accept-Encoding": "identity"}',
            'headers = {"Accept-Encoding": "identity", "X-Buckets": "3"}',
        ),
    ),
    mutant(
        "T39",
        "an idle slot makes no records",
        "what_the_host_can_know",
        ("awvault.sealer", "slot=True, whole=whole", "slot=False, whole=whole"),
    ),
    mutant(
        "T02",
        "the host logs usernames",
        "what_the_host_can_know",
        (
            "awserver.service.sessions",
            "        token, session = self._parts.new_session(account, ",
            LOGGING + "        token, session = self._parts.new_session(account, ",
        ),
    ),
)


@pytest.mark.parametrize("row", MUTANTS, ids=lambda row: row.id)
def test_a_leak_is_noticed(row: Mutant, tmp_path: Path) -> None:
    """A product that tells its host more fails the test above."""
    tree = tmp_path / "tree"
    make_tree(row.edits, tree)

    done = run_test(f"../scenarios/{Path(__file__).name}::{row.test}", tree)

    assert done.returncode == TESTS_FAILED, done.stdout + done.stderr
