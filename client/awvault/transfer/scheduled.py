"""Exports that aw-server makes by itself, where its owner asked for them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from awvault.service import ExportRequest, Service
from awvault.transfer.folders import PERIODS, ExportFolder
from awvault.transfer.formats import check_form, request_for, writer_for

LOOK_SECONDS: Final = 60.0
"""How often the clock is looked at: a machine that slept was not awake to count."""

RETRY_SECONDS: Final = 900.0
"""After an export that failed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to export, where to, and how often."""

    to: Path
    every: str
    keep: int
    form: str


async def export_to(
    folder: ExportFolder,
    service: Service,
    request: ExportRequest,
    form: str,
    *,
    now: float,
) -> None:
    """Write one export into a folder. Raises OSError, and what the service raises."""
    with folder.new_file(now=now) as file, writer_for(form, file) as write:
        lines = service.export_lines(request)
        async with contextlib.aclosing(lines):
            async for line in lines:
                write(line)


async def export_by_plan(
    plan: Plan, service: Service, *, clock: Callable[[], float] = time.time
) -> None:
    """Export by a plan until it is cancelled. What fails is logged, and tried again."""
    period = PERIODS[plan.every]
    folder = ExportFolder(plan.to, form=plan.form)
    request = request_for(ExportRequest(), plan.form)
    log.warning(
        'everything is exported every %s to "%s", not encrypted', plan.every, plan.to
    )
    while True:
        pause = LOOK_SECONDS
        try:
            check_form(plan.form)
            wait = folder.seconds_until(period, now=clock())
            if wait > 0:
                pause = min(wait, LOOK_SECONDS)
            else:
                await export_to(folder, service, request, plan.form, now=clock())
                folder.prune(plan.keep)
                log.info('exported to "%s"', plan.to)
        except OSError as error:
            log.error(  # noqa: TRY400 - where it was is of no use to a person
                'the export to "%s" failed: %s', plan.to, error.strerror or "?"
            )
            pause = RETRY_SECONDS
        except Exception as error:  # noqa: BLE001 - the next export may succeed
            log.error("the export failed: %s", type(error).__name__)  # noqa: TRY400
            pause = RETRY_SECONDS
        await asyncio.sleep(pause)
