"""Mutants of the one view: what a client shows of the logs of several.

In the form of `mutants.py`: each row takes one defence out, and the test that it
names must fail.
"""

from typing import Final

from tests.adversarial.mutants import STATE, mutant

INDEX: Final = "awvault.index"
OPENING: Final = "awvault.opening"
REPLICA: Final = "awvault.replica"
SEALING: Final = "awvault.sealing"
UNLOCKED: Final = "awvault.unlocked"
VAULT: Final = "awvault.vault"
ZONES: Final = "awvault.columns.zones"

ONE_VIEW: Final = "../unit/vault/test_one_view.py"
REPLICA_TEST: Final = "../unit/vault/test_replica.py"

VIEW_MUTANTS: Final = (
    # -- T07: another salt than yesterday
    mutant(
        "T07",
        "what unlocked here is forgotten",
        f"{REPLICA_TEST}::passphrase_that_another_client_changed",
        (
            OPENING,
            "    return [here, (whole, keys_blob)]",
            "    return [(whole, keys_blob)]",
        ),
    ),
    # -- T30: a client that the owner did not add; a revoked one after its end
    mutant(
        "T30",
        "what a revoked client sealed later is shown",
        f"{REPLICA_TEST}::sealed_after_its_end",
        (STATE, "if entry.revoked and record.header.seq >= end:", "if False:"),
    ),
    mutant(
        "T30",
        "records in the store are believed at a start",
        f"{REPLICA_TEST}::unverified_records_in_the_store",
        (
            STATE,
            "                    if client_id != state.client_id:\n",
            "                    if False:\n",
        ),
    ),
    # -- T39: upload times and record counts
    mutant(
        "T39",
        "an idle slot makes nothing",
        "../unit/vault/test_seal_plans.py::idle_slot",
        (SEALING, "parts or ([((), ())] if both else [])", "parts"),
    ),
    mutant(
        "T39",
        "an idle record is smaller",
        "../unit/vault/test_seal_plans.py::idle_slot",
        (SEALING, "    floor_bytes=FLOOR_REMOTE_BYTES,", "    floor_bytes=512,"),
    ),
    # -- T43: what is shown is what was sealed, once
    mutant(
        "T43",
        "a first row under any number counts",
        f"{REPLICA_TEST}::lower_number_never_counts",
        (INDEX, "(0, event_id >> COUNTER_BITS) if known", "(0, -1) if known"),
    ),
    mutant(
        "T43",
        "first rows under other numbers are not looked at",
        f"{REPLICA_TEST}::sealed_again_by_a_newer",
        (ZONES, "        listed |= table.id >> COUNTER_BITS != writer\n", ""),
    ),
    mutant(
        "T43",
        "a planted bucket counts",
        f"{REPLICA_TEST}::forged_bucket_of_a_lower",
        (STATE, "if rank >= (0, owner) and (", "if ("),
    ),
    mutant(
        "T43",
        "others' logs move one's own counters",
        f"{REPLICA_TEST}::move_no_counter",
        (
            INDEX,
            '        mine &= self.writers()[zones["record"]] == client_number\n',
            "",
        ),
    ),
    mutant(
        "T43",
        "the row that came last counts",
        "../property/test_interleaving.py::order_of_arrival",
        (
            INDEX,
            """        newest = max(
            (revision, client_number),
            (0, event_id >> COUNTER_BITS) if known is None else known,
        )
""",
            "        newest = (revision, client_number)\n",
        ),
    ),
    mutant(
        "T43",
        "a heartbeat extends any client's event",
        f"{ONE_VIEW}::does_not_extend",
        (
            VAULT,
            "            and last.id >> COUNTER_BITS == self._keys.client_number\n",
            "",
        ),
    ),
    mutant(
        "T43",
        "a correction of another's is taken for a copy",
        f"{ONE_VIEW}::no_copy_of_anothers",
        (STATE, 'zones[self._own[zones["record"]]]', "zones"),
    ),
    mutant(
        "T43",
        "a deleted event is extended",
        f"{ONE_VIEW}::another_client_deleted",
        (REPLICA, "                bucket.forget_last()\n", "                pass\n"),
    ),
    # -- T45: a kill or a failure at any step
    mutant(
        "T45",
        "records that were stored are not shown",
        "../durability/test_accept.py::fault_at_each_step and accepted-unforeseen",
        (
            REPLICA,
            """                if stored:
                    self._durable.distrust()
""",
            "",
        ),
    ),
    # -- T48: a revoked client together with the host
    mutant(
        "T48",
        "sealing goes on under keys that were replaced",
        f"{REPLICA_TEST}::new_epoch_waits",
        (
            UNLOCKED,
            "        return standing.awaiting is None and not revoked",
            "        return not revoked",
        ),
    ),
)
