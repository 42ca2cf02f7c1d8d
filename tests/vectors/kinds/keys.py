"""Every derivation, with the values in between."""

from awserver.records import account_id_of
from awvault.crypto import labels
from awvault.crypto.hashing import derive
from awvault.crypto.keys import (
    ClientKey,
    EpochKey,
    JournalKey,
    MasterKey,
    Passphrase,
    RecoveryKey,
    derive_account_signing_key,
    derive_boot_key,
    derive_index_key,
    derive_local_key,
    derive_login_key,
    derive_passphrase_kek,
    derive_recovery_kek,
    derive_recovery_login_key,
    derive_ring_kek,
)
from awvault.crypto.passphrase import (
    STANDARD,
    Profile,
    bound_salt,
    derive_passphrase_key,
)
from tests.helpers.owners import CHEAP
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, require_keys, same, unhex

NAME = "keys"

_PASSPHRASE = {
    "passphrase",
    "passphrase utf-8",
    "username",
    "salt",
    "memory kib",
    "passes",
    "bound salt",
    "passphrase key",
    "login seed",
    "login public",
    "kek-pass",
}
_MASTER = {"master key", "ask seed", "ask public", "account id", "kek-ring"}
_RECOVERY = {"recovery key", "rec-login seed", "rec-login public", "kek-rec"}
_CLIENT = {
    "client seed",
    "client public",
    "client id",
    "epoch key",
    "local key",
    "journal key",
    "boot random",
    "boot key",
    "index key",
}


def make() -> dict[str, Fields]:
    return {
        "passphrase_standard": _passphrase(
            "the profile of the product", "correct horse battery staple", STANDARD
        ),
        "passphrase_cheap": _passphrase(
            "the profile of the other vectors", "correct horse battery staple", CHEAP
        ),
        "passphrase_normalised": _passphrase(
            "NFKC: a ligature, a letter with a combining mark, a full-width letter",
            "of\ufb01ce cafe\u0301 \uff21",
            CHEAP,
        ),
        "passphrase_other_username": _passphrase(
            "the same salt, another username",
            "correct horse battery staple",
            CHEAP,
            username="alice",
        ),
        "master": _with_values(
            {
                "expect": "success",
                "comment": "what the first master key of an account gives",
                "master key": fixed("master").hex(),
            }
        ),
        "recovery": _with_values(
            {
                "expect": "success",
                "comment": "what the recovery key gives",
                "recovery key": fixed("recovery").hex(),
            }
        ),
        "client": _with_values(
            {
                "expect": "success",
                "comment": "the keys of one client",
                "client seed": fixed("client").hex(),
                "epoch key": fixed("epoch").hex(),
                "journal key": fixed("journal").hex(),
                "boot random": fixed("boot").hex(),
            }
        ),
    }


def check(fields: Fields) -> None:
    groups = {
        "passphrase": _PASSPHRASE,
        "master key": _MASTER,
        "recovery key": _RECOVERY,
        "client seed": _CLIENT,
    }
    (needed,) = [group for key, group in groups.items() if key in fields]
    require_keys(fields, needed, set())
    assert fields["expect"] == "success"
    same(fields, _values(fields))


def _passphrase(
    comment: str, passphrase: str, profile: Profile, *, username: str = "local"
) -> Fields:
    return _with_values(
        {
            "expect": "success",
            "comment": comment,
            "passphrase": passphrase,
            "username": username,
            "salt": fixed("salt", 16).hex(),
            "memory kib": str(profile.memory_kib),
            "passes": str(profile.passes),
        }
    )


def _with_values(fields: Fields) -> Fields:
    values = {key: value.hex() for key, value in _values(fields).items()}
    return {**fields, **values}


def _values(fields: Fields) -> dict[str, bytes]:
    if "passphrase" in fields:
        return _passphrase_values(fields)
    if "master key" in fields:
        master = MasterKey(unhex(fields, "master key"))
        ask = derive_account_signing_key(master)
        return {
            "ask seed": ask.reveal(),
            "ask public": ask.public,
            "account id": account_id_of(ask.public),
            "kek-ring": derive_ring_kek(master).reveal(),
        }
    if "recovery key" in fields:
        recovery = RecoveryKey(unhex(fields, "recovery key"))
        login = derive_recovery_login_key(recovery)
        return {
            "rec-login seed": login.reveal(),
            "rec-login public": login.public,
            "kek-rec": derive_recovery_kek(recovery).reveal(),
        }
    client = ClientKey(unhex(fields, "client seed"))
    journal = JournalKey(unhex(fields, "journal key"))
    epoch = EpochKey(unhex(fields, "epoch key"))
    boot = unhex(fields, "boot random")
    # The one derivation without a function of its own in between.
    assert derive(journal.reveal(), labels.JOURNAL, boot) == (
        derive_boot_key(journal, boot).reveal()
    )
    return {
        "client public": client.public,
        "client id": client.client_id,
        "local key": derive_local_key(epoch, client.client_id).reveal(),
        "boot key": derive_boot_key(journal, boot).reveal(),
        "index key": derive_index_key(journal).reveal(),
    }


def _passphrase_values(fields: Fields) -> dict[str, bytes]:
    passphrase = Passphrase(fields["passphrase"])
    salt = unhex(fields, "salt")
    key = derive_passphrase_key(
        passphrase,
        username=fields["username"],
        salt=salt,
        profile=Profile(
            memory_kib=int(fields["memory kib"]), passes=int(fields["passes"])
        ),
    )
    login = derive_login_key(key)
    return {
        "passphrase utf-8": passphrase.reveal(),
        "bound salt": bound_salt(fields["username"], salt),
        "passphrase key": key.reveal(),
        "login seed": login.reveal(),
        "login public": login.public,
        "kek-pass": derive_passphrase_kek(key).reveal(),
    }
