"""What is new in one bucket since somebody last looked.

An event is new once: when this client stores it, or when the record that brings it
was verified. Corrections of events that were there before are not new events.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from awserver.records import ClientId
from awvault.columns.payload import COUNTER_BITS
from awvault.columns.table import EventTable
from awvault.state import State
from awvault.view import BucketView


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far the logs had come at one moment."""

    next_event: int
    """The counter of this client's next event."""
    seqs: Mapping[ClientId, int]
    """The seq of each other log's newest record that was verified."""

    @classmethod
    def of(cls, state: State) -> "Mark":
        """Return the mark of a state as it is now."""
        heads = {client_id: log.head for client_id, log in state.logs.items()}
        return cls(
            next_event=state.next_event,
            seqs={
                client_id: head.seq
                for client_id, head in heads.items()
                if head is not None
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """The part of a bucket that may hold new events, to be read in any thread."""

    view: BucketView
    since: Mark
    own_number: int

    @classmethod
    def of(
        cls, view: BucketView, state: State, since: Mark, *, own_number: int
    ) -> "News":
        """Return what may be new in `view`, which shows `state` as it is now."""
        first = (own_number << COUNTER_BITS) | since.next_event
        numbers, records = state.index.client_numbers, state.index.records

        def may_be_new(record: int, id_max: int) -> bool:
            if numbers[record] == own_number:
                return id_max >= first
            client_id, head = records[record]
            return head.seq > since.seqs.get(client_id, -1)

        zones = view.zones
        chosen = np.fromiter(
            map(may_be_new, zones["record"].tolist(), zones["id_max"].tolist()),
            dtype=np.bool_,
            count=len(zones),
        )
        return cls(
            view=view.with_zones(zones[chosen]), since=since, own_number=own_number
        )

    def read(self) -> EventTable:
        """Return the new events, the oldest first; newest revisions, none deleted."""
        first = (self.own_number << COUNTER_BITS) | self.since.next_event
        parts = []
        for table, number in self.view.parts():
            new = table.revision == 0
            if number == self.own_number:
                new &= table.id >= first
            parts.append(table.id[new])
        if not parts:
            return EventTable.empty()
        ids = np.concatenate(parts)
        live = self.view.read(start=None, end=None)
        live = live.take(np.isin(live.id, ids))
        return live.take(np.lexsort((live.id, live.start)))
