"""Mutants: the product with one defence taken out.

For every attack there is at least one, and a test of that attack must fail on
it: a test that no mutant can fail is not a test. A row names the attack, the
module, what to replace by what in it, and the test that must notice. Several
edits of one row are made together. Add rows for a new attack to MUTANTS, or put
them in a list of their own and add that list at the end.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("awserver", "awvault")
SECONDS_MAX: Final = 100.0

TESTS_FAILED: Final = 1
"""pytest's exit status: tests ran, and some failed."""

WRONG_TREE: Final = 97
"""The proof's exit status: the code that was imported is not the mutant's."""

_PROOF: Final = f"""
import sys
from pathlib import Path
import pytest

TREE = Path(__file__).resolve().parent

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    wanted = set((TREE / "mutated").read_text().split())
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in {PACKAGES!r}:
            if not Path(module.__file__).resolve().is_relative_to(TREE):
                pytest.exit(f"{{name}} was imported from elsewhere", {WRONG_TREE})
            wanted.discard(name)
    if wanted:
        pytest.exit(f"{{wanted}} was never imported", {WRONG_TREE})
"""


@dataclass(frozen=True)
class Edit:
    """One replacement; `old` stands in the module exactly once."""

    module: str
    """By its name; another file by its path below the folder of both packages."""
    old: str
    new: str

    @property
    def path(self) -> Path:
        if self.module.endswith(".sql"):
            return Path(self.module)
        return Path(*self.module.split(".")).with_suffix(".py")


@dataclass(frozen=True)
class Mutant:
    """The product without one defence, and the test that must fail for it."""

    attack: str
    """As in the threat model: T18."""
    name: str
    test: str
    """The test file, seen from this directory, and what pytest's -k must select."""
    edits: tuple[Edit, ...]

    @property
    def id(self) -> str:
        return f"{self.attack}-{self.name}"

    @property
    def test_file(self) -> str:
        return self.test.partition("::")[0]


def mutant(attack: str, name: str, test: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(attack, name, test, tuple(Edit(*edit) for edit in edits))


APPENDING: Final = "awserver.storage.sqlite.appending"
COMMITTING: Final = "awvault.crypto.committing"
ENVELOPE: Final = "awvault.crypto.envelope"
LOGS_SQL: Final = "awserver/storage/sqlite/migrations/0001_logs.sql"
ACCOUNTS_SQL: Final = "awserver/storage/sqlite/migrations/0002_accounts.sql"
COMPRESS: Final = "awvault.columns.compress"
PAYLOAD: Final = "awvault.columns.payload"
HASHING: Final = "awvault.crypto.hashing"
HEDGE: Final = "awvault.crypto.hedge"
KEYS: Final = "awvault.crypto.keys"
LOG: Final = "awvault.protocol.log"
DOCUMENT: Final = "awserver.documents"
ACCOUNT: Final = "awvault.protocol.account"
PASSPHRASE: Final = "awvault.crypto.passphrase"
RECORDS: Final = "awserver.records"
SLOTS: Final = "awvault.crypto.slots"
ROWS: Final = "awvault.crypto.rows"
RECOVERY: Final = "awvault.crypto.recovery"
RECOVERING: Final = "awvault.recovering"
PROVING_HOST: Final = "awserver.service.proving"

DATABASE: Final = "awserver.storage.sqlite.database"
DURABILITY: Final = "awvault.durability"
GATEWAY_ANSWERS: Final = "awvault.gateway.answers"
GATEWAY_EVENTS: Final = "awvault.gateway.events"
JOURNAL: Final = "awvault.journal"
PADDING: Final = "awvault.crypto.padding"
SEALER: Final = "awvault.sealer"
STATE: Final = "awvault.state"
TABLES: Final = "awvault.tables"
WRITER: Final = "awserver.storage.sqlite.writer"
VAULT: Final = "awvault.vault"

_OF_ANY = "{before} NOT EXISTS (\n    SELECT 1 FROM deletions"
_OF_ONE = f"{_OF_ANY} WHERE account_id = OLD.account_id"

_NO_COMMITMENT = (
    COMMITTING,
    "if not hmac.compare_digest(commitment, sealed.commitment):",
    "if False:",
)
_BLOB_HASH = (
    ACCOUNT,
    "if hash_keys_blob(keys_blob) != document.keys_blob_hash:",
    "if False:",
)
_NO_SIGNATURE = (
    LOG,
    "        verify_record(self.client_public, record)\n",
    "",
)
_NO_H0 = (
    (
        ENVELOPE,
        "labels.RECORD_SEAL, h0, plaintext",
        'labels.RECORD_SEAL, b"", plaintext',
    ),
    (ENVELOPE, "        record.header_bytes[:H0_BYTES],\n", '        b"",\n'),
)

_SEALS_IN_PLAIN_TEXT = (
    (
        COMMITTING,
        """bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, context + salt + commitment, _NONCE, sealing_key
    )""",
        "plaintext + bytes(TAG_BYTES)",
    ),
    (
        COMMITTING,
        """bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed.ciphertext,
            context + sealed.salt + sealed.commitment,
            _NONCE,
            sealing_key,
        )""",
        "sealed.ciphertext[:-TAG_BYTES]",
    ),
)
_ROWS_IN_PLAIN_TEXT = (
    (
        ROWS,
        """bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, context, nonce, raw
    )""",
        "plaintext + bytes(TAG_BYTES)",
    ),
    (
        ROWS,
        """bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[NONCE_BYTES:], context, sealed[:NONCE_BYTES], key
        )""",
        "sealed[NONCE_BYTES:-TAG_BYTES]",
    ),
)

MUTANTS: Final = (
    # -- T01: canaries
    mutant(
        "T01",
        "journal and index rows in plain text",
        "test_t01_canaries.py::in_this_process",
        *_ROWS_IN_PLAIN_TEXT,
    ),
    mutant(
        "T01",
        "records in plain text",
        "test_t01_canaries.py::in_this_process",
        *_SEALS_IN_PLAIN_TEXT,
    ),
    mutant(
        "T01",
        "the path of a request is logged",
        "test_t01_canaries.py::in_this_process",
        (
            GATEWAY_EVENTS,
            "    pulsetime_us = reading.pulsetime_parameter(request)\n",
            """    pulsetime_us = reading.pulsetime_parameter(request)
    __import__("logging").getLogger(__name__).debug("beat: %s", request.path)
""",
        ),
    ),
    mutant(
        "T01",
        "the text of a refusal is logged",
        "test_t01_canaries.py::in_this_process",
        (
            GATEWAY_ANSWERS,
            "            return error_answer(400, _said(error))\n",
            """            log.info("refused", extra={"why": str(error)})
            return error_answer(400, _said(error))
""",
        ),
    ),
    # -- T02: what is allowed
    mutant(
        "T02",
        "the database notes when",
        "test_t02_allowed.py::every_column",
        (
            DATABASE,
            "    number INTEGER NOT NULL,\n",
            "    number INTEGER NOT NULL,\n    applied INTEGER,\n",
        ),
        (DATABASE, "VALUES (?, ?)", "VALUES (?, ?, unixepoch())"),
    ),
    mutant(
        "T02",
        "starts are numbered by the clock",
        "test_t02_allowed.py::no_column_holds_a_time",
        (TABLES, "SELECT coalesce(max(boot), 0) + 1", "SELECT unixepoch()"),
    ),
    mutant(
        "T02",
        "rows are not padded",
        "test_t02_allowed.py::of_declared_sizes",
        (
            JOURNAL,
            "    return plaintext + bytes(-len(plaintext) % ROW_PADDING_BYTES)",
            "    return plaintext",
        ),
    ),
    mutant(
        "T02",
        "records are not padded",
        "test_t02_allowed.py::of_padded_sizes",
        (
            PADDING,
            'framed.ljust(padded_bytes(len(framed), floor=floor), b"\\0")',
            "framed",
        ),
    ),
    # -- T03: secrets
    mutant(
        "T03",
        "secrets print",
        "test_t03_secrets.py::do_not_print",
        (
            KEYS,
            '        return f"<{type(self).__name__} redacted>"',
            '        return f"<{type(self).__name__} {self._raw.hex()}>"',
        ),
    ),
    mutant(
        "T03",
        "keystore and slots in plain text",
        "test_t03_secrets.py::on_disk_or_in_a_log",
        *_SEALS_IN_PLAIN_TEXT,
    ),
    mutant(
        "T03",
        "the journal's key beside the journal",
        "test_t03_secrets.py::on_disk_or_in_a_log",
        (
            VAULT,
            "        self._boot_key = self._keys.boot_key(boot_random)\n",
            """        self._boot_key = self._keys.boot_key(boot_random)
        beside = self._db.path.with_name("boot")
        beside.write_text(self._boot_key.reveal().hex())
""",
        ),
    ),
    # -- T04: equal events
    mutant(
        "T04",
        "one nonce for all rows",
        "test_t04_equal_events.py::journal_rows or index_rows",
        (
            ROWS,
            "    return nonce + bindings",
            "    nonce = bytes(NONCE_BYTES)\n    return nonce + bindings",
        ),
    ),
    mutant(
        "T04",
        "one salt for all records",
        "test_t04_equal_events.py::test_records",
        (
            COMMITTING,
            "    sealing_key, commitment = _derive(key, label, context, salt)\n    cip",
            """    salt = bytes(SALT_BYTES)
    sealing_key, commitment = _derive(key, label, context, salt)
    cip""",
        ),
    ),
    mutant(
        "T04",
        "one key for all records",
        "test_t04_equal_events.py::test_records",
        (
            COMMITTING,
            "    return both[:_KEY_BYTES], both[_KEY_BYTES:]",
            "    return bytes(_KEY_BYTES), both[_KEY_BYTES:]",
        ),
    ),
    # -- T17: slots
    mutant(
        "T17",
        "blob hash unchecked",
        "test_t17_slots.py::another_accounts_blob or older_epochs_blob",
        _BLOB_HASH,
    ),
    mutant(
        "T17",
        "flipped bits unchecked",
        "test_t17_slots.py::every_flipped_bit",
        _BLOB_HASH,
    ),
    mutant(
        "T17",
        "slot not bound to its place",
        "test_t17_slots.py::sealed_for_another_place",
        (
            SLOTS,
            "return account_id + u8(kind) + u32(epoch) + salt",
            'return b""',
        ),
    ),
    mutant(
        "T17",
        "kinds of slots not told apart",
        "test_t17_slots.py::of_the_other_kind",
        (
            SLOTS,
            "return account_id + u8(kind) + u32(epoch) + salt",
            "return account_id + u32(epoch) + salt",
        ),
        (
            SLOTS,
            "seal(kek.reveal(), labels.SLOT_RECOVERY,",
            "seal(kek.reveal(), labels.SLOT_PASSPHRASE,",
        ),
    ),
    mutant(
        "T17",
        "signing key not pinned",
        "test_t17_slots.py::another_master_key",
        (
            ACCOUNT,
            "if derive_account_signing_key(master).public != document.signing_public:",
            "if False:",
        ),
    ),
    mutant(
        "T17",
        "ring may end anywhere",
        "test_t17_slots.py::a_ring_that_does_not_end",
        (SLOTS, "if len(ring) != epoch + 1:", "if False:"),
    ),
    mutant(
        "T17",
        "recovery slot not announced",
        "test_t17_slots.py::recovery_slot_without",
        (
            ACCOUNT,
            "    if bool(blob.recovery_slot) != ",
            "    if False and ",
        ),
    ),
    mutant(
        "T17",
        "form of the blob unchecked",
        "test_t17_slots.py::of_another_form",
        (ACCOUNT, "            at != len(data)\n            or ", "            "),
        (ACCOUNT, "            or blob.encode() != data\n", ""),
    ),
    mutant(
        "T17",
        "document signature unchecked",
        "test_t17_slots.py::given_the_blobs_hash",
        (
            DOCUMENT,
            "        signed.verify_signature(old.signing_public)\n",
            "",
        ),
    ),
    # -- T18: two keys
    mutant(
        "T18",
        "no commitment",
        "test_t18_two_keys.py::committed_key_only",
        _NO_COMMITMENT,
    ),
    mutant(
        "T18", "no commitment in a slot", "test_t18_two_keys.py::a_slot", _NO_COMMITMENT
    ),
    mutant(
        "T18",
        "no commitment in a record",
        "test_t18_two_keys.py::a_record",
        _NO_COMMITMENT,
    ),
    # -- T19: one answer
    mutant(
        "T19",
        "commitment has its own error",
        "test_t19_one_answer.py::a_committing_seal or a_slot_fails",
        (
            COMMITTING,
            "sealed.commitment):\n        return None",
            'sealed.commitment):\n        raise SealError("wrong commitment")',
        ),
    ),
    mutant(
        "T19",
        "tag has its own error",
        "test_t19_one_answer.py::a_committing_seal",
        (
            COMMITTING,
            "    except CryptoError:\n        return None",
            '    except CryptoError:\n        raise SealError("wrong tag")',
        ),
    ),
    mutant(
        "T19",
        "the error carries its cause",
        "test_t19_one_answer.py::a_committing_seal",
        (
            COMMITTING,
            "    except CryptoError:\n        return None",
            """    except CryptoError:
        raise SealError("a seal does not open: another key, or altered, or moved")""",
        ),
    ),
    mutant(
        "T19",
        "length has its own error",
        "test_t19_one_answer.py::every_length",
        (
            COMMITTING,
            "len(sealed.ciphertext) < TAG_BYTES:\n        return None",
            'len(sealed.ciphertext) < TAG_BYTES:\n        raise SealError("short")',
        ),
    ),
    mutant(
        "T19",
        "a short row has its own error",
        "test_t19_one_answer.py::a_row_fails",
        (
            ROWS,
            "if len(sealed) < OVERHEAD_BYTES:\n        return None",
            'if len(sealed) < OVERHEAD_BYTES:\n        raise SealError("short")',
        ),
    ),
    mutant(
        "T19",
        "a wrong passphrase tells its cause",
        "test_t19_one_answer.py::has_one_error",
        (
            ACCOUNT,
            "SealError:\n        raise WrongPassphraseError from None",
            "SealError as error:\n        raise WrongPassphraseError from error",
        ),
    ),
    # -- T20: recovery
    mutant(
        "T20",
        "the checksum of the words is not looked at",
        "test_t20_recovery.py::taken_for_another",
        (
            RECOVERY,
            "    except ValueError:\n        return None\n",
            "    except ValueError:\n        return RecoveryKey(bytes(32))\n",
        ),
    ),
    mutant(
        "T20",
        "any keys blob is opened by the words",
        "test_t20_recovery.py::slot_of_another",
        _BLOB_HASH,
    ),
    mutant(
        "T20",
        "the words stay when they were used",
        "test_t20_recovery.py::were_used",
        (
            RECOVERING,
            "passphrase=passphrase, recovery=recovery)",
            "passphrase=passphrase, recovery=self._owner.recovery)",
        ),
    ),
    mutant(
        "T20",
        "the host gives out what is wrapped before the words are proven",
        "test_t20_recovery.py::words_of_another",
        (
            PROVING_HOST,
            "        if not (is_signed and is_fresh and has_keys):\n",
            "        if not (is_fresh and has_keys):\n",
        ),
    ),
    # -- T22: every bit
    mutant(
        "T22",
        "signature unchecked",
        "test_t22_every_bit.py::every_flipped_bit",
        _NO_SIGNATURE,
    ),
    mutant(
        "T22",
        "body hash unchecked",
        "test_t22_every_bit.py::every_flipped_bit",
        (RECORDS, "if hash_body(body) != header.body_hash:", "if False:"),
        (LOG, "            or hash_body(record.body) != header.body_hash\n", ""),
    ),
    mutant(
        "T22",
        "length unchecked",
        "test_t22_every_bit.py::every_truncation or every_extension",
        (RECORDS, "if len(body) != header.body_bytes:", "if False:"),
        (
            RECORDS,
            "if hash_body(body) != header.body_hash:",
            "if hash_body(body[: header.body_bytes]) != header.body_hash:",
        ),
        (
            LOG,
            "            len(record.body) != header.body_bytes\n            or ",
            "            ",
        ),
        (LOG, "hash_body(record.body) != header.body_hash", "False"),
    ),
    mutant(
        "T22",
        "magic unchecked",
        "test_t22_every_bit.py::every_flipped_bit",
        (RECORDS, "        if magic != MAGIC:", "        if False:"),
    ),
    mutant(
        "T22",
        "suite unchecked",
        "test_t22_every_bit.py::every_flipped_bit",
        (ENVELOPE, " and data[at] != SUITE:", " and False:"),
    ),
    mutant(
        "T22",
        "limit unchecked",
        "test_t22_every_bit.py::above_the_limit",
        (RECORDS, "if body_bytes > BODY_BYTES_MAX:", "if False:"),
    ),
    mutant(
        "T22",
        "short bytes unchecked",
        "test_t22_every_bit.py::random_bytes or every_truncation",
        (RECORDS, "if len(data) < RECORD_BYTES_MIN:", "if False:"),
        (RECORDS, "if len(data) != HEADER_BYTES:", "if False:"),
    ),
    # -- T23: header fields
    mutant(
        "T23", "signature unchecked", "test_t23_header.py::by_the_host", _NO_SIGNATURE
    ),
    mutant(
        "T23",
        "body hash unchecked",
        "test_t23_header.py::and_signed_again",
        (LOG, "            or hash_body(record.body) != header.body_hash\n", ""),
    ),
    mutant(
        "T23",
        "body length unchecked",
        "test_t23_header.py::and_signed_again",
        (
            LOG,
            "            len(record.body) != header.body_bytes\n            or ",
            "            ",
        ),
    ),
    mutant(
        "T23",
        "no commitment",
        "test_t23_header.py::and_signed_again",
        (
            COMMITTING,
            "if not hmac.compare_digest(commitment, sealed.commitment):",
            "if False:",
        ),
        (
            COMMITTING,
            "            context + sealed.salt + sealed.commitment,\n",
            "            context + sealed.salt + commitment,\n",
        ),
    ),
    mutant("T23", "place not sealed", "test_t23_header.py::a_place_changed", *_NO_H0),
    mutant(
        "T23",
        "parsed header believed",
        "test_t23_header.py::parsed_header",
        (LOG, "            if header == record.header:\n", "            if True:\n"),
    ),
    mutant(
        "T23",
        "any key may sign",
        "test_t23_header.py::signed_by_another_key",
        _NO_SIGNATURE,
    ),
    mutant(
        "T23",
        "hash without the signature",
        "test_t23_header.py::what_is_shown",
        (
            LOG,
            "        return Head(seq=header.seq, hash=found)",
            "        return Head(seq=header.seq, hash=header.prev)",
        ),
    ),
    mutant(
        "T23",
        "tag unchecked",
        "test_t23_header.py::a_body_changed",
        (
            COMMITTING,
            "    except CryptoError:\n        return None",
            "    except CryptoError:\n        return sealed.ciphertext",
        ),
    ),
    # -- T24: moved
    mutant(
        "T24",
        "account unchecked",
        "test_t24_moved.py::of_another_account_is",
        (LOG, "if header.account_id != self.account_id:", "if False:"),
    ),
    mutant(
        "T24",
        "client unchecked",
        "test_t24_moved.py::of_another_client_is",
        (LOG, "if header.client_id != self.client_id:", "if False:"),
    ),
    mutant(
        "T24",
        "seq unchecked",
        "test_t24_moved.py::at_another_seq",
        (LOG, "if header.seq != self.next_seq:", "if False:"),
    ),
    mutant(
        "T24",
        "place not sealed",
        "test_t24_moved.py::by_its_client or to_another_client or along_its_log",
        *_NO_H0,
        (HASHING, "key=key, digest_size", "key=bytes(32), digest_size"),
    ),
    mutant(
        "T24",
        "one key for all epochs",
        "test_t24_moved.py::to_another_epoch",
        *_NO_H0,
        (HASHING, "key=key, digest_size", "key=bytes(32), digest_size"),
    ),
    mutant(
        "T24",
        "epoch may go back",
        "test_t24_moved.py::left_behind",
        (LOG, "if header.epoch < self.epoch:", "if False:"),
    ),
    mutant(
        "T24",
        "epoch unchecked",
        "test_t24_moved.py::unnamed_epoch",
        (LOG, "if header.epoch not in self.ring:", "if False:"),
    ),
    mutant(
        "T24",
        "kinds of seals not told apart",
        "test_t24_moved.py::taken_for_nothing_else",
        (
            COMMITTING,
            "    both = derive(key, label, data,",
            "    both = derive(key, labels.HEDGE, data,",
        ),
    ),
    mutant(
        "T24",
        "anyone has a log",
        "test_t24_moved.py::does_not_name",
        (
            LOG,
            "        entry = account.clients.get(client_id)\n",
            "        entry = next(iter(account.clients.values()))\n",
        ),
    ),
    # -- T25: order
    mutant(
        "T25",
        "seq unchecked",
        "test_t25_order.py::nothing_after_the_fault or whatever_the_order",
        (LOG, "if header.seq != self.next_seq:", "if False:"),
    ),
    mutant(
        "T25",
        "prev unchecked",
        "test_t25_order.py::another_past or with_a_past",
        (
            LOG,
            "if header.prev != (ZERO_HASH if self.head is None else self.head.hash):",
            "if False:",
        ),
    ),
    mutant(
        "T25",
        "missing bodies passed over",
        "test_t25_order.py::withheld_body or only_an_erased",
        (
            LOG,
            '            raise BodyMissingError(f"record {header.seq} has no body")',
            "            return None",
        ),
    ),
    mutant(
        "T25",
        "state moves before the check",
        "test_t25_order.py::withheld_body",
        (
            LOG,
            "        opened = self._open(record)\n        self.head = head\n",
            "        self.head = head\n        opened = self._open(record)\n",
        ),
    ),
    # -- T36: repeating randomness
    mutant(
        "T36",
        "salt not hedged with the content",
        "test_t36_repeating.py::another_salt or two_clones or another_row",
        (HEDGE, "        + hash_bytes(labels.PLAINTEXT, plaintext)\n", ""),
    ),
    mutant(
        "T36",
        "salt not hedged with the place",
        "test_t36_repeating.py::another_salt or long_log",
        (HEDGE, "        + hash_bytes(labels.CONTEXT, context)\n", ""),
    ),
    mutant(
        "T36",
        "salt not hedged with the label",
        "test_t36_repeating.py::another_salt",
        (COMMITTING, "context=lp(label) + context,", "context=context,"),
    ),
    mutant(
        "T36",
        "keys not hedged with their owner",
        "test_t36_repeating.py::depends_on_its_owner or two_accounts",
        (HEDGE, "return derive(owner, labels.GENERATE, data)", "return data[:32]"),
    ),
    mutant(
        "T36",
        "keys not hedged with their purpose",
        "test_t36_repeating.py::differ_from_each_other",
        (HEDGE, "lp(purpose) + context)", "context)"),
    ),
    mutant(
        "T36",
        "short draws taken",
        "test_t36_repeating.py::gives_too_little",
        (HEDGE, "    if len(drawn) != size:", "    if False:"),
    ),
    # -- T44: another implementation
    mutant(
        "T44",
        "another label",
        "test_t44_independent.py::every_event",
        (
            "awvault.crypto.labels",
            'RECORD_SEAL: Final = Label(b"record-seal")',
            'RECORD_SEAL: Final = Label(b"record-body")',
        ),
    ),
    mutant(
        "T44",
        "padding other than zeros",
        "test_t44_independent.py::every_event",
        (
            PADDING,
            'framed.ljust(padded_bytes(len(framed), floor=floor), b"\\0")',
            'framed.ljust(padded_bytes(len(framed), floor=floor), b"\\1")',
        ),
        (PADDING, "padded.count(0, end)", "padded.count(1, end)"),
    ),
    mutant(
        "T44",
        "journal rows bound in another order",
        "test_t44_independent.py::every_event",
        (
            "awvault.unlocked",
            'self.client_id + jid.to_bytes(8, "little") + write.to_bytes(8, "little")',
            'self.client_id + write.to_bytes(8, "little") + jid.to_bytes(8, "little")',
        ),
    ),
    mutant(
        "T44",
        "a column in another place",
        "test_t44_independent.py::every_event",
        (
            "awvault.columns.payload",
            "return octets[:, :planes].T.tobytes()",
            "return octets[:, :planes].tobytes()",
        ),
        (
            "awvault.columns.payload",
            "np.uint8).reshape(-1, count)",
            "np.uint8).reshape(count, -1).T",
        ),
    ),
    mutant(
        "T44",
        "argon2 of one more lane",
        "test_t44_independent.py::every_event",
        (PASSPHRASE, "parallelism=LANES,", "parallelism=LANES + 1,"),
    ),
    # -- T45: kills, faults and power cuts
    mutant(
        "T45",
        "commits are not synced",
        "../durability/test_power_cut.py::each_answer",
        (
            DATABASE,
            """connection.pragma("synchronous", "full")
        # On macOS""",
            """connection.pragma("synchronous", "normal")
        # On macOS""",
        ),
    ),
    mutant(
        "T45",
        "answered before the commit",
        "../durability/test_power_cut.py::each_answer or share_a_commit",
        (
            WRITER,
            '            self._probe("commit")\n',
            '            _resolve(group)\n            self._probe("commit")\n',
        ),
    ),
    mutant(
        "T45",
        "writes behind a failed one go on",
        "../durability/test_faults.py::without_its_bucket",
        (
            WRITER,
            "if work.fence is not None and work.fence.broken is not None:",
            "if False:",
        ),
    ),
    mutant(
        "T45",
        "memory stays ahead of the disk",
        "../durability/test_faults.py::at_each_step and commit-full",
        (DURABILITY, "if failed and fence is self._fence:", "if False:"),
    ),
    mutant(
        "T45",
        "memory is believed though it could not be loaded",
        "../durability/test_faults.py::memory_is_ahead",
        (
            DURABILITY,
            "        while self._stale:\n",
            "        while self._stale and self._recovery is not None:\n",
        ),
    ),
    mutant(
        "T45",
        "nothing new is confirmed at once",
        "../durability/test_faults.py::with_nothing_new",
        (DURABILITY, "pending = set(self._in_flight)", "pending = set()"),
    ),
    mutant(
        "T45",
        "sealed rows stay in the journal",
        "../durability/test_faults.py::at_each_step and collected-full",
        (SEALER, "        tables.delete_journal_rows(tx, jids)\n", ""),
    ),
    mutant(
        "T45",
        "a seal that was stored is not shown",
        "../durability/test_faults.py::at_each_step and stored-full",
        (SEALER, "                if stored:\n", "                if False:\n"),
    ),
    mutant(
        "T45",
        "rows are replaced while they are sealed",
        "../unit/vault/test_sealing.py::replaced_during_a_seal",
        (
            JOURNAL,
            "return jid in self._written and jid not in self._sealing",
            "return jid in self._written",
        ),
    ),
    mutant(
        "T45",
        "the place of a damaged row is used again",
        "../unit/vault/test_damage.py::is_not_used_again",
        (
            STATE,
            """state.damaged_rows.append(row.jid)
            state.journal.next_jid = max(state.journal.next_jid, row.jid + 1)""",
            "state.damaged_rows.append(row.jid)",
        ),
    ),
    mutant(
        "T45",
        "rows that come back are shown",
        "../unit/vault/test_damage.py::that_come_back",
        (
            STATE,
            "if not isinstance(held, BucketVersion) and sealed.hold(held):",
            "if False:",
        ),
    ),
    # -- T50: inputs of keys
    mutant(
        "T50",
        "first document unsigned",
        "test_t50_inputs.py::no_byte_of_a_document or that_a_host_makes",
        (
            DOCUMENT,
            "    signed.verify_signature(document.signing_public)\n",
            "",
        ),
    ),
    mutant(
        "T50",
        "trailing bytes taken",
        "test_t50_inputs.py::that_a_host_adds",
        (DOCUMENT, "        if self.at != len(self._data):", "        if False:"),
    ),
    mutant(
        "T50",
        "account not certified",
        "test_t50_inputs.py::certifies_its_first_key",
        (
            DOCUMENT,
            "account_id_of(document.signing_public) == document.account_id",
            "account_id_of(document.signing_public) != b''",
        ),
    ),
    mutant(
        "T50",
        "any account taken",
        "test_t50_inputs.py::of_the_hosts_own",
        (ACCOUNT, "if first.document.account_id != account_id:", "if False:"),
    ),
    mutant(
        "T50",
        "salt not bound to the username",
        "test_t50_inputs.py::one_salt_for_all",
        (PASSPHRASE, "data = lp(username.encode()) + salt", "data = salt"),
    ),
    mutant(
        "T50",
        "salt ignored",
        "test_t50_inputs.py::looks_like_a_wrong or every_salt",
        (PASSPHRASE, "lp(username.encode()) + salt", "lp(username.encode())"),
        (SLOTS, "u32(epoch) + salt", "u32(epoch)"),
    ),
    mutant(
        "T50",
        "a weaker standard",
        "test_t50_inputs.py::profile_is_fixed",
        (
            PASSPHRASE,
            "memory_kib=256 * 1024, passes=3",
            "memory_kib=64 * 1024, passes=3",
        ),
    ),
    mutant(
        "T50",
        "profile ignored",
        "test_t50_inputs.py::derives_with",
        (PASSPHRASE, "memory_cost=profile.memory_kib,", "memory_cost=64,"),
    ),
    mutant(
        "T25",
        "a start takes any order",
        "../unit/vault/test_damage.py::up_to_where_it_is_in_order",
        # The chain finds what the seq would, so both go.
        (STATE, "        if header.seq != expected:", "        if False:"),
        (
            STATE,
            "        if header.prev != (ZERO_HASH if head is None else head.hash):",
            "        if False:",
        ),
    ),
    mutant(
        "T24",
        "a reader takes any record",
        "../unit/vault/test_damage.py::while_open_is_not_read",
        (STATE, "        if record.hash != head.hash:", "        if False:"),
    ),
    # -- T32: nothing that is stored changes
    mutant(
        "T32",
        "records may be updated",
        "test_t32_immutable.py::no_statement_changes",
        (
            LOGS_SQL,
            "BEFORE UPDATE ON records BEGIN",
            "BEFORE UPDATE ON records WHEN 0 BEGIN",
        ),
    ),
    mutant(
        "T32",
        "documents may be deleted",
        "test_t32_immutable.py::no_statement_changes",
        (
            ACCOUNTS_SQL,
            "BEFORE DELETE ON documents\nWHEN NOT",
            "BEFORE DELETE ON documents\nWHEN 0 AND NOT",
        ),
    ),
    mutant(
        "T32",
        "the mark of one account opens all",
        "test_t32_immutable.py::no_statement_changes",
        (
            ACCOUNTS_SQL,
            _OF_ONE.format(before="BEFORE DELETE ON records\nWHEN"),
            _OF_ANY.format(before="BEFORE DELETE ON records\nWHEN"),
        ),
    ),
    mutant(
        "T32",
        "bodies of any account may go once one is marked",
        "test_t32_immutable.py::no_statement_changes",
        (
            ACCOUNTS_SQL,
            _OF_ONE.format(before=") AND"),
            _OF_ANY.format(before=") AND"),
        ),
    ),
    mutant(
        "T32",
        "rowids may be replaced",
        "test_t32_immutable.py::no_statement_changes",
        (
            LOGS_SQL,
            ") OR EXISTS (SELECT 1 FROM bodies WHERE rowid = NEW.rowid) BEGIN",
            ") BEGIN",
        ),
    ),
    mutant(
        "T32",
        "other bytes at a seq are taken for the same",
        "test_t32_immutable.py::an_overwrite or fifty_appends_at_one_seq",
        (
            APPENDING,
            "        if found != (record.header_bytes, record.signature):",
            "        if False:",
        ),
    ),
    mutant(
        "T32",
        "a planted trigger is taken",
        "../unit/vault/test_damage.py::planted_trigger",
        (
            DATABASE,
            "                if expected.get(name) != statement:",
            "                if False:",
        ),
    ),
    # -- T34: nonsense in a good seal
    mutant(
        "T34",
        "decompressed without a bound",
        "test_t34_payload.py::a_bomb_of_zeros",
        (
            COMPRESS,
            "decompressor.decompress(frame, max_length=raw_bytes + 1)",
            "decompressor.decompress(frame)",
        ),
    ),
    mutant(
        "T34",
        "any size may be declared",
        "test_t34_payload.py::a_bomb_of_zeros",
        (COMPRESS, "    if raw_bytes > RAW_BYTES_MAX:", "    if False:"),
    ),
    mutant(
        "T34",
        "any number of zones",
        "test_t34_payload.py::more_than_there_may_be",
        (
            PAYLOAD,
            "zones: Annotated[list[_Zone], Meta(max_length=ZONES_MAX)]",
            "zones: list[_Zone]",
        ),
        (PAYLOAD, "    if len(encoded) > HEADER_BYTES_MAX:", "    if False:"),
    ),
    mutant(
        "T34",
        "errors of the decoder let through",
        "test_t34_payload.py::more_than_there_may_be or random_bytes",
        (
            PAYLOAD,
            "    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:",
            "    except RecursionError as error:",
        ),
    ),
)


def edited(edits: tuple[Edit, ...]) -> dict[Path, str]:
    """Return the modules that edits change, by path, as they are then."""
    sources: dict[Path, str] = {}
    for edit in edits:
        path = edit.path
        if path not in sources:
            package = _directory(path.parts[0])
            sources[path] = package.parent.joinpath(path).read_text("utf-8")
        count = sources[path].count(edit.old)
        if count != 1:
            raise AssertionError(
                f"{edit.module} holds {count} times, must hold once: {edit.old!r}"
            )
        sources[path] = sources[path].replace(edit.old, edit.new)
    return sources


def make_tree(edits: tuple[Edit, ...], tree: Path) -> None:
    """Copy both packages to `tree`, and make the edits there.

    Works on sources and on an installed wheel: it copies what is imported here.
    """
    for package in PACKAGES:
        shutil.copytree(
            _directory(package),
            tree / package,
        )
    for path, source in edited(edits).items():
        (tree / path).write_text(source, "utf-8")
    modules = {edit.module for edit in edits if not edit.module.endswith(".sql")}
    (tree / "mutated").write_text(" ".join(modules))
    (tree / "mutant_proof.py").write_text(_PROOF)


def run_test(test: str, tree: Path) -> subprocess.CompletedProcess[str]:
    """Run a test with the packages of `tree`, and nothing that it shares."""
    file, _, expression = test.partition("::")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # loading them all takes a second
        "HYPOTHESIS_STORAGE_DIRECTORY": str(tree / "hypothesis"),
    }
    return subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", str(Path(__file__).parent / file), "-k", expression),
            *("-x", "-q", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")),
            *("-p", "no:cacheprovider", "-p", "mutant_proof"),
            *("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"),
            *("-o", f"pythonpath='{tree}' '{ROOT}'"),
            f"--basetemp={tree / 'pytest'}",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def _directory(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AssertionError(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0])
