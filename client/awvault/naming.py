"""What the buckets of an account's clients are called on this one.

Watchers on two machines give buckets one name. Here a client's own buckets keep
theirs, as its watchers expect; another client's is told apart by the client's
label where it must be. docs/protocol/journal-and-index.md, "Buckets".
"""

from collections.abc import Mapping
from typing import Final

from awvault.columns.payload import COUNTER_BITS, BucketVersion
from awvault.crypto.slots import open_client_label
from awvault.errors import IntegrityError
from awvault.incoming import PREFERENCES
from awvault.unlocked import Standing

SYNCED_FROM: Final = "-synced-from-"
"""Between the name of another client's bucket and that client's label."""
_PLAIN: Final = frozenset("._-")


def client_labels(standing: Standing) -> dict[int, str]:
    """Return what each client is called, by its number; no two are called alike.

    Of several clients with one label the first keeps it, the others get a
    number. A label that does not open is made up: it is no reason to hide data.
    """
    labels: dict[int, str] = {}
    taken: set[str] = set()
    for entry in sorted(standing.account.clients.values(), key=lambda e: e.number):
        try:
            label = open_client_label(
                standing.ring[entry.label_epoch],
                entry.sealed_label,
                account_id=standing.account.document.account_id,
                client_id=entry.client_id,
            )
        except (IntegrityError, KeyError):
            label = ""
        labels[entry.number] = _distinct(label or f"client-{entry.number}", taken)
    return labels


def shown_names(
    versions: Mapping[int, BucketVersion], *, mine: int, labels: Mapping[int, str]
) -> dict[str, int]:
    """Return which bucket each name means, by the newest version of every bucket.

    A client's newest bucket of a name is shown, unless it is hidden. It has its
    plain name if it is of client number `mine`, or if no other client has one of
    that name; else its client's label is added. Preferences are not shown.
    """
    newest: dict[tuple[str, int], int] = {}
    for bucket_id in sorted(versions):
        version = versions[bucket_id]
        if not version.hidden and version.name != PREFERENCES:
            newest[version.name, bucket_id >> COUNTER_BITS] = bucket_id
    holders: dict[str, int] = {}
    for name, _ in newest:
        holders[name] = holders.get(name, 0) + 1
    shown: dict[str, int] = {}
    shared: list[tuple[str, int]] = []
    for (name, owner), bucket_id in newest.items():
        if owner == mine or holders[name] == 1:
            shown[name] = bucket_id
        else:
            shared.append((name, owner))
    taken = set(shown)
    for name, owner in sorted(shared, key=lambda place: newest[place]):
        label = _slug(labels.get(owner, "")) or f"client-{owner}"
        shown[_distinct(f"{name}{SYNCED_FROM}{label}", taken)] = newest[name, owner]
    return shown


def _distinct(text: str, taken: set[str]) -> str:
    """Return `text`, with a number behind it if it is taken, and take it."""
    found, number = text, 1
    while found in taken:
        number += 1
        found = f"{text}-{number}"
    taken.add(found)
    return found


def _slug(label: str) -> str:
    """Return a label as part of a bucket's id, which stands in addresses."""
    return "".join(c if c.isalnum() or c in _PLAIN else "-" for c in label)
