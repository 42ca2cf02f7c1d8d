"""T43: a walk of operations and lies: one of each kind, in a fixed order.

`tests/scenarios/test_state_machine.py` walks at random, by the same steps.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

import pytest

from tests.helpers.fault_proxy import End, Fault
from tests.helpers.vaults import SECOND, T0
from tests.scenarios.lies import CHANGES
from tests.scenarios.test_state_machine import HostMachine

pytestmark = pytest.mark.timeout(120)

CUT: Final = Fault(end=End.RESET, direction="down", in_body=True, after=100)
FIRST, SECOND_CLIENT, THIRD = range(3)


class Walk(HostMachine):
    """Three clients, and steps that a test puts in order."""

    def step(self, name: str) -> None:
        """Do one of the steps below, and check everything."""
        getattr(self, f"do_{name}")()
        self.check()

    def do_write(self) -> None:
        for client in range(3):
            self.create(client, "window")
            self.insert(client, "window", [(T0, SECOND), (T0, 0)])
            self.correct(client, 0, T0 + SECOND, SECOND)
            self.beat(client, "window", T0 + 9 * SECOND, 0, again=False)

    def do_exchange(self) -> None:
        for client in (FIRST, SECOND_CLIENT, THIRD, FIRST, SECOND_CLIENT):
            self.seal(client)
            self.sync(client)

    def do_cut(self) -> None:
        self.sync_through_trouble(SECOND_CLIENT, CUT)

    def do_gone(self) -> None:
        self.reopen(FIRST)
        self.sync_without_host(FIRST)

    def do_crash(self) -> None:
        self.crash_in_a_round(THIRD, ("accepted-records-inserted", 1))

    def do_restore(self) -> None:
        self.back_up_host()
        self.do_write()
        self.do_exchange()
        self.restore_host(0, SECOND_CLIENT)

    def do_store(self) -> None:
        for client, deaf in ((FIRST, True), (SECOND_CLIENT, False)):
            self.host_lies_about_storing(client, deaf=deaf)

    def do_alter(self) -> None:
        for change in CHANGES:
            self.host_alters_records(FIRST, SECOND_CLIENT, change, 0)

    def do_promise(self) -> None:
        self.host_promises_more(FIRST, SECOND_CLIENT, 2)

    def do_hide(self) -> None:
        # Nobody has spoken of it yet: who has read it remembers.
        self.record_more(self.pick(SECOND_CLIENT), records=1)
        self.sync(SECOND_CLIENT)
        self.sync(FIRST)
        self.host_hides_the_end(FIRST, SECOND_CLIENT, 1)
        self.host_hides_what_another_has_seen(FIRST)


@contextlib.contextmanager
def walk() -> Iterator[Walk]:
    """Give a walk; at its end everybody must show the same."""
    made = Walk()
    try:
        made.first()
        made.join(FIRST, -50)
        yield made
    except BaseException:
        made.release()
        raise
    made.teardown()


@pytest.mark.parametrize("lie", ["alter", "hide", "promise", "restore", "store"])
def test_each_lie_is_caught_and_the_work_goes_on(lie: str) -> None:
    """What is shown was sealed, once and in order; what lacks is noticed."""
    with walk() as made:
        for name in ("write", "exchange", lie, "write", "cut", "exchange"):
            made.step(name)


def test_honest_trouble_accuses_nobody() -> None:
    """Cuts, crashes and wrong clocks are no lies, and everything arrives."""
    with walk() as made:
        for name in ("write", "gone", "cut", "crash", "exchange", "write", "gone"):
            made.step(name)
