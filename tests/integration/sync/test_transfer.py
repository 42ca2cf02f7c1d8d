"""Import and export where several clients belong to an account."""

from pathlib import Path

from awvault.service import ExportRequest, ignore_progress
from awvault.transfer.exporting import export_lines
from awvault.transfer.importing import Importer
from awvault.transfer.sources import file_parts
from awvault.vault import Vault
from tests.helpers.syncing import two_clients


async def exported(vault: Vault, form: str) -> bytes:
    lines = [line async for line in export_lines(vault, ExportRequest(form=form))]
    return b"".join(line + b"\n" for line in lines)


async def imported(vault: Vault, body: bytes) -> tuple[int, int, int]:
    pieces = [body]

    async def read() -> bytes:
        return pieces.pop() if pieces else b""

    result = await Importer(vault, ignore_progress).run(file_parts(read))
    return result.buckets_created, result.events_added, result.events_present


async def test_what_another_client_recorded_comes_once(tmp_path: Path) -> None:
    """An export names its bucket as it is shown; an import finds it by that name."""
    async with two_clients(tmp_path) as (_, one, two):
        for member in (one, two):
            await member.record(0)
        await one.vault.create_bucket("only", type="t")
        for member in (one, two, one, two):
            assert (await member.seal_and_sync()).alarms == []
        names = set(two.vault.buckets())
        assert len(names) == 3
        for form in ("lines", "activitywatch"):
            body = await exported(two.vault, form)
            before = sum(two.vault.count(name) for name in names)
            assert await imported(two.vault, body) == (0, 0, before)
            assert set(two.vault.buckets()) == names

        # What is new goes into the bucket of the client that has it.
        body = await exported(two.vault, "activitywatch")
        empty = b'"events":[\n]'
        assert body.index(b'"only"') < body.index(empty)
        event = b'"events":[{"timestamp":"2026-01-01","data":{"n":1}}]'
        more = body.replace(empty, event, 1)
        created, added, _ = await imported(two.vault, more)
        assert (created, added) == (0, 1)
        for member in (two, one, two, one):
            assert (await member.seal_and_sync()).alarms == []
        assert one.vault.count("only") == two.vault.count("only") == 1
