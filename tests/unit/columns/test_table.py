"""Event tables: choosing, joining and ordering rows."""

import numpy as np

from awvault.columns.table import EventTable
from tests.helpers.tables import Row, rows_of, table

A = b'{"app":"a"}'
B = b'{"app":"b"}'
ROWS = [Row(1, 10, 5, A), Row(2, 5, -1, B, 1, 7, 3), Row(3, 5, 0, A)]


def test_an_empty_table_has_no_rows() -> None:
    """Nothing is a table too, and can be joined."""
    empty = EventTable.empty()

    assert rows_of(empty) == []
    assert rows_of(EventTable.concat([])) == []
    assert rows_of(EventTable.concat([empty, table(*ROWS), empty])) == ROWS
    assert len(empty.compacted()) == 0
    assert len(empty.sorted_by_start()) == 0


def test_rows_are_taken_by_mask_index_or_slice() -> None:
    """A mask keeps, indices choose in their order, a slice cuts."""
    whole = table(*ROWS)

    assert rows_of(whole.take(np.array([True, False, True]))) == [ROWS[0], ROWS[2]]
    assert rows_of(whole.take(np.array([2, 0, 0]))) == [ROWS[2], ROWS[0], ROWS[0]]
    assert rows_of(whole.take(slice(1, None))) == ROWS[1:]


def test_joined_tables_keep_their_own_data() -> None:
    """Each row has the text that it had in its own table."""
    assert rows_of(EventTable.concat([table(*ROWS[:1]), table(*ROWS[1:])])) == ROWS


def test_rows_are_sorted_by_start_and_then_by_id() -> None:
    """Equal starts are in the order of their ids."""
    whole = table(*ROWS)

    ordered = whole.sorted_by_start()

    assert rows_of(ordered) == [ROWS[1], ROWS[2], ROWS[0]]
    assert ordered.sorted_by_start() is ordered


def test_the_end_of_a_row_without_duration_is_its_start() -> None:
    """An event without an end ends where it starts."""
    assert table(*ROWS).end().tolist() == [15, 5, 5]


def test_compacting_drops_texts_that_no_row_has() -> None:
    """Rows stay, and each text is there once."""
    part = EventTable.concat([table(*ROWS), table(*ROWS)]).take(np.array([0, 2, 3]))

    compacted = part.compacted()

    assert rows_of(compacted) == rows_of(part)
    assert compacted.texts == [A]
    assert compacted.nbytes < part.nbytes


def test_clipping_cuts_rows_to_a_range() -> None:
    """Start and end are cut; a row without an end has none afterwards."""
    whole = table(Row(1, 10, 10), Row(2, 12, -1), Row(3, 15, 0))

    def clipped(start: int | None, end: int | None) -> list[tuple[int, int]]:
        cut = whole.clipped(start, end)
        return list(zip(cut.start.tolist(), cut.duration.tolist(), strict=True))

    assert clipped(None, None) == [(10, 10), (12, -1), (15, 0)]
    assert clipped(12, None) == [(12, 8), (12, -1), (15, 0)]
    assert clipped(None, 16) == [(10, 6), (12, -1), (15, 0)]
    assert clipped(12, 16) == [(12, 4), (12, -1), (15, 0)]
