"""How long a host takes to answer for names that it knows, and that it does not.

    python -m tests.adversarial.timing [TRIES]

T13: the medians of the two must lie within 5 % of each other. It is measured and
not asserted in a test, for a busy machine says anything. Tries alternate, over one
connection, so whatever slows one slows the other.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from awserver.wire import PreloginRequest
from tests.helpers.hosts import Member, Visitor, visitor
from tests.helpers.lying_host import LyingHost, lying_host

TRIES: Final = 1_000
COLD_TRIES: Final = 200
"""Names that are asked for once, after a restart: nothing of them is in memory."""
DIFFERENCE_MAX: Final = 0.05

Try = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Measured:
    """Medians of one question, in seconds."""

    question: str
    known: float
    unknown: float

    @property
    def difference(self) -> float:
        return abs(self.known - self.unknown) / min(self.known, self.unknown)

    @property
    def is_told(self) -> bool:
        """Whether the time tells which names exist."""
        return self.difference > DIFFERENCE_MAX

    def __str__(self) -> str:
        return (
            f"{self.question:<36} known {self.known * 1e6:7.1f} us,"
            f" unknown {self.unknown * 1e6:7.1f} us: {self.difference:6.1%}"
            f" (at most {DIFFERENCE_MAX:.0%})"
        )


async def seconds(one: Try) -> float:
    begun = time.perf_counter()
    await one()
    return time.perf_counter() - begun


async def compare(
    question: str,
    known: Callable[[int], Try],
    unknown: Callable[[int], Try],
    tries: int,
) -> Measured:
    """Alternate tries of both kinds."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(tries):
        # Each kind goes first as often as the other.
        order = (0, 1) if number % 2 else (1, 0)
        for kind in order:
            times[kind].append(await seconds((known, unknown)[kind](number)))
    return Measured(question, *map(statistics.median, times))


async def measure(directory: Path, tries: int) -> list[Measured]:
    """Ask a host everything that might tell a name."""
    async with lying_host(directory) as host, visitor(host.url) as at:
        alice = Member("alice")
        nobody = Member("nobody", username="nobody")
        await alice.register(at)
        asked: list[tuple[str, Callable[[int], Try], Callable[[int], Try]]] = [
            ("prelogin", _prelogin(at, "alice"), _prelogin(at, "nobody"))
        ]
        asked += [
            (
                f"a wrong proof, by {by}",
                await _wrong_proof(alice, at, by),
                await _wrong_proof(nobody, at, by),
            )
            for by in ("login", "recovery", "client")
        ]
        found = [await compare(*one, tries) for one in asked]
        found.append(await _cold(host, at, min(tries, COLD_TRIES)))
    return found


def _prelogin(at: Visitor, username: str) -> Callable[[int], Try]:
    request = PreloginRequest(username=username)
    return lambda _: lambda: at.post("/prelogin", request)


async def _wrong_proof(member: Member, at: Visitor, by: str) -> Callable[[int], Try]:
    request = replace(
        await member.session_request(at, by=by), signature=bytes([1]) * 64
    )
    return lambda _: lambda: at.post("/sessions", request)


async def _cold(host: LyingHost, at: Visitor, tries: int) -> Measured:
    """Ask once for each of many names, known and not, of which no memory is warm."""
    for number in range(tries):
        name = f"known{number}"
        await Member(name, clients=1, username=name).register(at)
    await host.restart()
    await at.get("/info")

    def ask(kind: str) -> Callable[[int], Try]:
        def of(number: int) -> Try:
            request = PreloginRequest(username=f"{kind}{number}")
            return lambda: at.post("/prelogin", request)

        return of

    return await compare("prelogin, each name once", ask("known"), ask("other"), tries)


def main() -> int:
    """Print the medians; 1: a time tells which names exist."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else TRIES
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(measure(Path(directory) / "host", tries))
    for one in found:
        print(one)  # noqa: T201 - the result
    return int(any(one.is_told for one in found))


if __name__ == "__main__":
    sys.exit(main())
