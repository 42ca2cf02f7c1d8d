"""What several clients wrote, as a model: every version of every event, and its past.

A `Version` knows what its writer was shown when it was written. So the model needs
no revisions and no clocks to say what a client may show:

* what was written, by whom, as it was written;
* never something older than what it showed before, nor older than what stands in
  the records that it has;
* of the others' logs what is sealed, from the beginning, without a gap;
* in the end a version that nobody wrote over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Row(NamedTuple):
    """An event as it is shown. The text says which version it is."""

    bucket: str
    """Its name on the client whose bucket it is."""
    start: int
    duration: int
    text: bytes


@dataclass(eq=False, slots=True)
class Version:
    """One state of one event."""

    writer: int
    parent: "Version | None"
    row: Row | None
    """None: it was deleted."""

    def is_after(self, other: "Version") -> bool:
        """Tell whether who wrote this knew the other."""
        at = self.parent
        while at is not None:
            if at is other:
                return True
            at = at.parent
        return False


@dataclass(slots=True)
class Seal:
    """What a client had written, and had seen, when it sealed."""

    seq: int
    """Of the last record that was made."""
    written: int
    """How many of its versions are in its records."""
    seen: Mapping[int, int]
    """Of each other client the newest seq."""
    version: int
    """Of the account document."""


class BrokenError(AssertionError):
    """A client shows what it must not."""


@dataclass(slots=True)
class Writer:
    """One client: what it wrote, what it sealed, and what it showed last."""

    written: list[tuple[int, Version]] = field(default_factory=list)
    seals: list[Seal] = field(default_factory=list)
    known: dict[int, Version] = field(default_factory=dict)
    """By event id, what it shows; the deleted ones too."""

    @property
    def sealed(self) -> int:
        return self.seals[-1].written if self.seals else 0

    def before(self, seq: int) -> Seal | None:
        """Return the last seal that is whole in the records up to `seq`."""
        return next((s for s in reversed(self.seals) if s.seq <= seq), None)

    def around(self, seq: int) -> Seal | None:
        """Return the seal that made record `seq`; None: there is none."""
        return next((s for s in self.seals if s.seq >= seq), None)


@dataclass(slots=True)
class History:
    """Everything that was acknowledged, of all clients."""

    writers: list[Writer] = field(default_factory=list)
    events: dict[int, list[Version]] = field(default_factory=dict)

    def write(self, client: int, event_id: int, row: Row | None) -> Version:
        """Note that a client's write was acknowledged."""
        writer = self.writers[client]
        version = Version(client, writer.known.get(event_id), row)
        self.events.setdefault(event_id, []).append(version)
        writer.written.append((event_id, version))
        writer.known[event_id] = version
        return version

    def visible(self, client: int) -> dict[int, Row]:
        """Return what a client shows, by event id."""
        known = self.writers[client].known
        return {n: v.row for n, v in known.items() if v.row is not None}

    def look(
        self, client: int, shown: Mapping[int, Row], heads: Mapping[int, int]
    ) -> None:
        """Hold what a client shows now against all that is known, and take it.

        `heads` says up to which seq it has each other client's log.
        """
        writer = self.writers[client]
        here = {id(version) for _, version in writer.written}
        for other in range(len(self.writers)):
            if other != client:
                here |= self._sealed(other, heads.get(other, -1))
        for event_id, row in shown.items():
            self._take(writer, event_id, self._version_of(event_id, row), here)
        for event_id, known in list(writer.known.items()):
            if event_id not in shown and known.row is not None:
                self._take(
                    writer, event_id, self._deletion(event_id, known, here), here
                )
        for other, seq in heads.items():
            self._check_log(writer, other, seq, here)

    def _sealed(self, other: int, seq: int) -> set[int]:
        """Return which versions the records of a client up to `seq` can hold."""
        its = self.writers[other]
        seal = its.around(seq) if seq >= 0 else None
        if seq >= 0 and seal is None:
            raise BrokenError(f"client {other} never made record {seq}")
        return {
            id(version) for _, version in its.written[: seal.written if seal else 0]
        }

    def _take(
        self, writer: Writer, event_id: int, version: Version, here: set[int]
    ) -> None:
        known = writer.known.get(event_id)
        if known is not None and known.is_after(version):
            raise BrokenError(f"event {event_id} went back from {known} to {version}")
        if id(version) not in here:
            raise BrokenError(
                f"{version} of event {event_id} is shown without a record"
            )
        writer.known[event_id] = version

    def _version_of(self, event_id: int, row: Row) -> Version:
        for version in self.events.get(event_id, ()):
            if version.row == row:
                return version
        raise BrokenError(f"event {event_id} is shown as nobody wrote it: {row}")

    def _deletion(
        self, event_id: int, known: Version | None, here: set[int]
    ) -> Version:
        for version in self.events[event_id]:
            if (
                version.row is None
                and id(version) in here
                and not (known is not None and known.is_after(version))
            ):
                return version
        raise BrokenError(f"event {event_id} is gone, and nobody deleted it")

    def _check_log(self, writer: Writer, other: int, seq: int, here: set[int]) -> None:
        """Nothing is missing of what the records up to `seq` hold."""
        its = self.writers[other]
        seal = its.before(seq)
        for event_id, version in its.written[: seal.written if seal else 0]:
            known = writer.known.get(event_id)
            if known is None:
                # Made and deleted before it was sealed: it never was to be seen.
                known = self._deletion(event_id, None, here)
                writer.known[event_id] = known
            if version.is_after(known):
                raise BrokenError(
                    f"record {seq} of client {other} is here, and event {event_id} is"
                    f" {known} in place of {version}"
                )

    def winners(self, event_id: int) -> Iterator[Version]:
        """Yield the versions that nobody wrote over: one of them is shown at last."""
        versions = self.events[event_id]
        parents = {id(version.parent) for version in versions}
        yield from (version for version in versions if id(version) not in parents)

    def check_end(self, ends: list[Mapping[int, Row]]) -> None:
        """All have exchanged everything: they show the same, each event once."""
        for client, shown in enumerate(ends):
            if shown != ends[0]:
                differing = {n for n, _ in shown.items() ^ ends[0].items()}
                raise BrokenError(f"client {client} and 0 differ in {differing}")
        for event_id in self.events:
            row = ends[0].get(event_id)
            if row not in [version.row for version in self.winners(event_id)]:
                raise BrokenError(
                    f"event {event_id} ends as {row}:"
                    f" {list(self.winners(event_id))} would be right"
                )
