"""An export into a fresh vault is the same history."""

from pathlib import Path

from awvault.columns.table import PAIR
from awvault.incoming import NewRows
from awvault.service import ExportRequest, Progress
from awvault.testing import open_vault
from awvault.transfer.exporting import export_lines
from awvault.transfer.importing import Importer
from awvault.transfer.sources import file_parts
from awvault.vault import Vault

START = 1_700_000_000_000_000


def _ignore(_: Progress) -> None:
    pass


async def _copy(source: Vault, target: Vault) -> tuple[int, int]:
    exported = [line + b"\n" async for line in export_lines(source, ExportRequest())]

    async def read() -> bytes:
        return exported.pop(0) if exported else b""

    result = await Importer(target, _ignore).run(file_parts(read))
    return result.events_added, result.events_present


async def test_a_copy_keeps_when_an_activity_was_stored(tmp_path: Path) -> None:
    """Start, end, form, data and `stored_at` of an activity survive a copy."""
    async with (
        await open_vault(tmp_path / "one") as one,
        await open_vault(tmp_path / "two") as two,
    ):
        await one.create_bucket("activity_run", type="run")
        await one.insert_rows(
            "activity_run",
            NewRows(
                starts=[START, START + 1],
                durations=[-1, 5_000_000],
                texts=[b'{"note":"a"}', b'{"note":"b"}'],
                flags=[0, PAIR],
            ),
        )
        await one.insert_rows(
            "activity_run",
            NewRows(starts=[START + 9], durations=[0], texts=[b"{}"]),
        )

        assert await _copy(one, two) == (3, 0)
        assert await _copy(one, two) == (0, 3)

        before, after = one.read("activity_run"), two.read("activity_run")
    assert (before.stored_at > 0).all()
    for column in ("start", "duration", "stored_at", "flags"):
        assert getattr(after, column).tolist() == getattr(before, column).tolist()
    assert [after.texts[i] for i in after.data] == [
        before.texts[i] for i in before.data
    ]
