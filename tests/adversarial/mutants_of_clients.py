"""Mutants of what a client believes of a host.

In the form of `mutants.py`: each row takes one defence out, and the test that it
names must fail.
"""

from typing import Final

from tests.adversarial.mutants import (
    _NO_SIGNATURE,
    _SEALS_IN_PLAIN_TEXT,
    DOCUMENT,
    LOG,
    RECORDS,
    mutant,
)

ACCOUNTS: Final = "awvault.accounts"
MENTIONS: Final = "awvault.protocol.mentions"
REPAIR: Final = "awvault.sync.repair"
REPLICA: Final = "awvault.replica"
ROUNDS: Final = "awvault.sync.rounds"

_SUPPLIES_ALL: Final = (
    MENTIONS,
    "        if offered is None or offered.seq < head.seq:",
    "        if False:",
)

CLIENT_MUTANTS: Final = (
    mutant(
        "T01",
        "records travel in plain text",
        "test_t01_traffic.py::on_the_way",
        *_SEALS_IN_PLAIN_TEXT,
    ),
    # -- T21: epochs
    mutant(
        "T21",
        "a document is believed before its blob",
        "test_t21_epochs.py::another_ring and others",
        (REPLICA, "    if found != named:\n", "    if False:\n"),
    ),
    # -- T24, T25: records moved, out of order
    mutant(
        "T24",
        "any client's record is as good",
        "test_t24_host.py::another_clients_record",
        (
            LOG,
            "        if header.client_id != self.client_id:\n",
            "        if False:\n",
        ),
        (LOG, "if header.seq != self.next_seq:", "if False:"),
        (
            LOG,
            "if header.prev != (ZERO_HASH if self.head is None else self.head.hash):",
            "if False:",
        ),
        _NO_SIGNATURE,
    ),
    mutant(
        "T25",
        "a host chooses the order",
        "test_t25_host.py::nothing_of_it and swapped",
        (LOG, "if header.seq != self.next_seq:", "if False:"),
        (
            LOG,
            "if header.prev != (ZERO_HASH if self.head is None else self.head.hash):",
            "if False:",
        ),
    ),
    mutant(
        "T25",
        "one log's fault stops the round",
        "test_t25_host.py::other_logs",
        (
            ROUNDS,
            """        except _STOPS_A_LOG as error:
            self._alarms.add_log_error(client_id, error)
        except (TransportError, HostRefusedError) as error:
""",
            "        except (TransportError, HostRefusedError) as error:\n",
        ),
    ),
    # -- T26 to T28: tails, rollbacks, withholding
    mutant(
        "T26",
        "a log may become shorter",
        "test_t26_tail.py::notices_at_once",
        (ROUNDS, "        if claimed.seq < verified.seq:\n", "        if False:\n"),
        (
            ROUNDS,
            "if claimed is None:\n            raise RollbackError(",
            "if claimed is None:\n            return\n            raise RollbackError(",
        ),
    ),
    mutant(
        "T26",
        "what others have seen is not asked for",
        "test_t26_tail.py::first_mention",
        _SUPPLIES_ALL,
    ),
    mutant(
        "T26",
        "what the document names is no mention",
        "test_t26_tail.py::document_names",
        (ROUNDS, ", (None, mention_of(self._account))]", "]"),
    ),
    mutant(
        "T27",
        "what was acknowledged is forgotten",
        "test_t27_rollback.py::is_named",
        (ROUNDS, "        before = self._acknowledged\n", "        before = None\n"),
    ),
    mutant(
        "T27",
        "another's repair is taken for a copied machine",
        "test_t27_rollback.py::at_once",
        (
            ROUNDS,
            "if held is None or held.hex() != acknowledged.hash:",
            "if acknowledged.hash != head.hash.hex():",
        ),
    ),
    mutant(
        "T27",
        "only the own log is put back",
        "test_t27_rollback.py::puts_everything_back",
        (
            REPAIR,
            "        if theirs is not None:\n            held =",
            (
                "        if client_id != self._keys.client_id:\n            return\n"
                "        if theirs is not None:\n            held ="
            ),
        ),
    ),
    mutant(
        "T28",
        "withheld records are not missed",
        "test_t28_withheld.py::first_mention",
        _SUPPLIES_ALL,
    ),
    mutant(
        "T28",
        "what a host claims to have counts",
        "test_t28_withheld.py::only_claims",
        (
            ROUNDS,
            "                client_id in self._unread or self._alarms.of_log",
            "                True or self._alarms.of_log",
        ),
    ),
    mutant(
        "T28",
        "what is mentioned is not asked for",
        "test_t28_withheld.py::same_round",
        (ROUNDS, "self._pull_mentioned(client_id, last)", "asyncio.sleep(0)"),
    ),
    mutant(
        "T28",
        "a round that is cut checks nothing",
        "test_t28_withheld.py::cuts_every_round",
        (
            ROUNDS,
            "        await self._check_mentions(mentions, heads)\n",
            "",
        ),
    ),
    mutant(
        "T28",
        "two histories are one",
        "test_t28_withheld.py::two_histories",
        (
            MENTIONS,
            "        if held is not None and held != head.hash:\n",
            "        if False:\n",
        ),
    ),
    mutant(
        "T28",
        "mentions are held against old heads",
        "test_t28_withheld.py::same_time",
        (
            ROUNDS,
            "await self._push(heads)\n        heads = await self._host.heads()\n",
            "await self._push(heads)\n",
        ),
    ),
    # -- T30, T31: clients
    mutant(
        "T30",
        "a revoked log goes on",
        "test_t30_foreign_client.py::end_of_a_revoked_client_are_ignored",
        (LOG, "if self.revoked and", "if False and"),
        (ROUNDS, "        if not entry.revoked:\n", "        if True:\n"),
        (REPLICA, "    if entry is None or not entry.revoked:\n", "    if True:\n"),
    ),
    mutant(
        "T30",
        "anybody adds a client",
        "test_t30_foreign_client.py::owners_or_nobodys",
        (DOCUMENT, "        signed.verify_signature(old.signing_public)\n", ""),
    ),
    mutant(
        "T31",
        "a later document is not missed",
        "test_t31_hidden.py::named_by_who",
        (
            MENTIONS,
            "    if version > account.document.version:\n",
            "    if False:\n",
        ),
        _SUPPLIES_ALL,
    ),
    # -- T35: suites
    mutant(
        "T35",
        "every suite is this one",
        "test_t35_older.py::another_suite and 0",
        (RECORDS, "        if suite != SUITE:\n", "        if False:\n"),
    ),
    # -- T45: cuts
    mutant(
        "T45",
        "what is sent counts as acknowledged",
        "test_t45_cut.py::is_cut and up-End.RESET",
        (
            ROUNDS,
            "answer = await self._host.append(client_id, page)",
            (
                "self._acknowledged = Place.of(head)\n            answer ="
                " await self._host.append(client_id, page)"
            ),
        ),
    ),
    # -- T47: documents
    mutant(
        "T47",
        "documents may become fewer",
        "test_t47_documents.py::became_shorter and 1",
        (
            ROUNDS,
            "        if not page:\n            heads =",
            "        if not page:\n            return\n            heads =",
        ),
    ),
    mutant(
        "T47",
        "another document of one version is the same",
        "test_t47_documents.py::one_number",
        (
            ROUNDS,
            "        if hash_document(page[0]) != chain.newest.hash:\n",
            "        if False:\n",
        ),
    ),
    mutant(
        "T47",
        "a fork stops no edit",
        "test_t47_documents.py::of_the_account_changes",
        (
            ACCOUNTS,
            "            if alarm.name in _DISPUTES:\n",
            "            if False:\n",
        ),
    ),
    mutant(
        "T47",
        "any blob will do",
        "test_t47_documents.py::does_not_name and zeros",
        (REPLICA, "    if found != named:\n", "    if False:\n"),
    ),
    mutant(
        "T47",
        "what a document names may shrink",
        "test_t47_documents.py::may_not_shrink and heads",
        (DOCUMENT, "    _verify_grows(old, new)\n", ""),
    ),
)
