"""The buckets of a vault as a query sees them: as they are when it is sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from awvault.columns.table import EventTable
from awvault.vault import Vault
from awvault.view import BucketView, read_view


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a query may read; safe to use from any thread.

    A bucket's id can come into a query only as a text that stands there, or from
    `find_bucket` with one. So views are taken of those that a text fits.
    """

    hostnames: Mapping[str, str]
    """Of every bucket; this client's own come first, each in the order of making."""
    views: Mapping[str, BucketView]

    @classmethod
    def of(cls, vault: Vault, texts: Iterable[str]) -> Self:
        """Take a snapshot, on the event loop's thread, after `Vault.settle`."""
        buckets = sorted(vault.buckets().items(), key=lambda item: not item[1].own)
        parts = list(texts)
        return cls(
            hostnames={name: bucket.hostname for name, bucket in buckets},
            views={
                name: vault.view(name)
                for name, _ in buckets
                if any(part in name for part in parts)
            },
        )

    def read(self, bucket_id: str, *, start: int, end: int) -> EventTable:
        """Return the events that overlap a period, cut to it, the newest first."""
        return read_view(
            self.views[bucket_id],
            start=start,
            end=end,
            limit=None,
            order="newest",
            clip=True,
        )

    def count(self, bucket_id: str, *, start: int, end: int) -> int:
        """Return how many events overlap a period."""
        if start > end:
            return 0
        return self.views[bucket_id].count(start=start, end=end)
