"""Columns with names: what a data frame shows is what was stored."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from awvault.columns.frames import Columns
from awvault.columns.table import EventTable
from awvault.events import Activity, Event
from awvault.testing import open_vault

START = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


async def columns(path: Path) -> Columns:
    async with await open_vault(path) as vault:
        await vault.insert(
            "win",
            [
                Activity(START, {"app": "a", "n": 1}, duration=timedelta(seconds=2)),
                Activity(
                    START + timedelta(seconds=2),
                    {"app": "b", "id": "own"},
                    duration=timedelta(microseconds=5),
                ),
                Event(START + timedelta(seconds=3), {"app": "a", "n": 1}),
            ],
        )
        return await vault.columns("win", start=START)


async def test_each_key_has_a_column(tmp_path: Path) -> None:
    """Where an event has no such key, there is None; own names are not taken."""
    found = await columns(tmp_path / "vault")

    assert len(found) == 3
    assert found.data == {
        "app": ["a", "b", "a"],
        "n": [1, None, 1],
        ".id": [None, "own", None],
    }
    assert found.duration.tolist() == [2_000_000, 5, -1]


async def test_pandas_gets_times_and_values(tmp_path: Path) -> None:
    """Starts are in UTC, durations are spans, and one without end is not a time."""
    frame = (await columns(tmp_path / "vault")).to_pandas()

    assert list(frame["start"]) == [
        pd.Timestamp(START + timedelta(seconds=s)) for s in (0, 2, 3)
    ]
    assert frame["duration"][0] == pd.Timedelta(seconds=2)
    assert frame["duration"][1] == pd.Timedelta(microseconds=5)
    assert frame["duration"].isna().tolist() == [False, False, True]
    assert frame["app"].tolist() == ["a", "b", "a"]
    assert frame.groupby("app")["duration"].sum()["a"] == pd.Timedelta(seconds=2)


async def test_polars_gets_times_and_values(tmp_path: Path) -> None:
    """The same, in polars' own types."""
    frame = (await columns(tmp_path / "vault")).to_polars()

    assert frame.schema["start"] == pl.Datetime("us", "UTC")
    assert frame.schema["duration"] == pl.Duration("us")
    assert frame["start"].to_list() == [START + timedelta(seconds=s) for s in (0, 2, 3)]
    assert frame["duration"].to_list() == [
        timedelta(seconds=2),
        timedelta(microseconds=5),
        None,
    ]
    assert frame["n"].to_list() == [1, None, 1]


@pytest.mark.parametrize("kind", ["to_pandas", "to_polars"])
def test_no_events_are_an_empty_frame(kind: str) -> None:
    """A range without events is no error."""
    frame = getattr(Columns.of(EventTable.empty()), kind)()

    assert len(frame) == 0
    assert list(frame.columns) == ["id", "start", "duration"]
    assert np.array(frame["id"]).dtype == np.int64
