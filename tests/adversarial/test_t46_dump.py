"""T46: guessing passphrases with a copy of a host's database.

Every guess costs the full Argon2id, for nothing in the dump says less: whatever
depends on the passphrase depends on it through that key alone. What the dump shows
besides is listed, and the list is held against the database.
"""

from dataclasses import fields
from typing import Final

import apsw

from awvault.crypto.keys import Passphrase, derive_login_key, derive_passphrase_kek
from awvault.crypto.passphrase import STANDARD, Profile, derive_passphrase_key
from awvault.crypto.slots import open_passphrase_slot
from awvault.errors import SealError
from awvault.protocol.account import KeysBlob
from awvault.protocol.document import AccountDocument, decode_document
from tests.helpers.hosts import Member, Visitor
from tests.helpers.lying_host import LyingHost
from tests.helpers.owners import CHEAP

OF_THE_PASSPHRASE: Final = {"login_public", "keys_blob_hash"}
"""Fields of an account document that depend on it."""

COLUMNS: Final = {
    "accounts": {"account_id", "standing", "quota_bytes"},
    "bodies": {"account_id", "client_id", "seq", "body"},
    "deletions": {"account_id"},
    "documents": {"account_id", "version", "hash", "document"},
    "erasures": {"account_id", "client_id", "from_seq", "to_seq"},
    "host_secret": {"one", "secret"},
    "invites": {"code_hash", "expires_hour"},
    "keys_blobs": {"account_id", "blob"},
    "log_usage": {"account_id", "client_id", "bytes"},
    "records": {"account_id", "client_id", "seq", "hash", "header", "signature"},
    "schema_migrations": {"component", "number"},
    "sessions": {
        *("account_id", "token_hash", "client_id"),
        *("created_hour", "seen_hour"),
    },
    "usage": {"account_id", "entries", "bytes"},
    "used_nonces": {"account_id", "nonce"},
    "usernames": {"username", "account_id"},
}
"""All that a host stores. A column more is a decision, and stands here first."""


def parts(document: AccountDocument) -> dict[str, object]:
    return {one.name: getattr(document, one.name) for one in fields(AccountDocument)}


def test_only_two_fields_and_the_slot_depend_on_the_passphrase() -> None:
    """Two accounts with all the same randomness, and another passphrase each."""
    one, two = Member("twin"), Member("twin", passphrase="another one entirely")
    first, second = (decode_document(m.documents[0]).document for m in (one, two))
    blobs = [KeysBlob.decode(m.keys_blob()) for m in (one, two)]

    differ = {
        name for name, value in parts(first).items() if parts(second)[name] != value
    }

    assert differ == OF_THE_PASSPHRASE
    assert blobs[0].passphrase_slot != blobs[1].passphrase_slot
    assert blobs[0].ring == blobs[1].ring
    assert blobs[0].recovery_slot == blobs[1].recovery_slot


def test_both_take_the_full_derivation() -> None:
    """What tests a guess is made of its passphrase key: 256 MiB and three passes."""
    assert Profile(memory_kib=256 * 1024, passes=3) == STANDARD
    member = Member("target")
    document = decode_document(member.documents[0]).document
    slot = KeysBlob.decode(member.keys_blob()).passphrase_slot

    def guess(passphrase: str, profile: Profile) -> tuple[bool, bool]:
        key = derive_passphrase_key(
            Passphrase(passphrase),
            username=document.username,
            salt=document.salt,
            profile=profile,
        )
        try:
            open_passphrase_slot(
                derive_passphrase_kek(key),
                slot,
                account_id=document.account_id,
                epoch=document.epoch,
                salt=document.salt,
            )
            opens = True
        except SealError:
            opens = False
        return opens, derive_login_key(key).public == document.login_public

    assert guess(member.passphrase, CHEAP) == (True, True)
    assert guess(member.passphrase + " ", CHEAP) == (False, False)
    # A cheaper derivation than the account's own tells nothing of a right guess.
    cheaper = Profile(memory_kib=CHEAP.memory_kib // 2, passes=1)
    assert guess(member.passphrase, cheaper) == (False, False)


async def test_the_dump_holds_what_is_listed(
    member: Member, mine: Visitor, host: LyingHost
) -> None:
    """Every table and every column of a host's database is on the list."""
    assert (await mine.append(member.client_id(), [member.record(b"x")])).status == 201
    await host.stop()
    connection = apsw.Connection(str(host.database))
    found = {
        table: {
            name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")
        }
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite%'"
        )
    }
    connection.close()
    await host.start()

    assert found == COLUMNS


async def test_times_are_of_the_full_hour(
    member: Member, mine: Visitor, host: LyingHost
) -> None:
    """What the database says of when is an hour: it knows no minute."""
    await host.stop()
    connection = apsw.Connection(str(host.database))
    ((created, seen),) = connection.execute(
        "SELECT created_hour, seen_hour FROM sessions"
    )
    connection.close()
    await host.start()

    assert 400_000 < created == seen < 700_000  # hours since 1970
