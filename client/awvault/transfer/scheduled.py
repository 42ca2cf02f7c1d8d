"""Exports that aw-server makes by itself, where its owner asked for them."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from awvault.errors import Error
from awvault.service import Check, ExportRequest, Service
from awvault.settings import Settings
from awvault.transfer.folders import PERIODS, ExportFolder
from awvault.transfer.formats import (
    FormatMissingError,
    check_form,
    request_for,
    writer_for,
)

LOOK_SECONDS: Final = 60.0
"""How often the clock is looked at: a machine that slept was not awake to count."""

RETRY_SECONDS: Final = 900.0
"""After an export that failed."""

_LOOK: Final = "aw-server makes them while it runs; its log says why one failed"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to export, where to, and how often."""

    to: Path
    every: str
    keep: int
    form: str


def check_exports(settings: Settings, *, now: float) -> Iterator[Check]:
    """Yield whether the exports that the settings ask for are made, if they do."""
    to, every = settings.export_to, settings.export_every
    if to is None:
        return
    name, period = "exports", PERIODS[every]
    folder = ExportFolder(to, form=settings.export_format)
    try:
        check_form(settings.export_format)
        age = period - folder.seconds_until(period, now=now)
    except FormatMissingError as error:
        yield Check(name=name, outcome="fail", detail=str(error), hint=error.hint)
        return
    except OSError as error:
        detail = f"{to}: {error.strerror or error}"
        hint = "exports go to a directory that exists: make it, or change export_to"
        yield Check(name=name, outcome="fail", detail=detail, hint=hint)
        return
    if not os.access(to, os.W_OK | os.X_OK):
        detail, hint = f"{to} is not writable", "it must belong to who runs aw-server"
        yield Check(name=name, outcome="fail", detail=detail, hint=hint)
    elif not folder.has_exports(now=now):
        yield Check(
            name=name, outcome="warn", detail=f"none is in {to} yet", hint=_LOOK
        )
    elif age > 2 * period:
        detail = f"the newest in {to} is older than two times a {every}"
        yield Check(name=name, outcome="warn", detail=detail, hint=_LOOK)
    else:
        detail = f"every {every} to {to}, the last {age / 3600:.1f} h ago"
        yield Check(name=name, outcome="ok", detail=detail)


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
        except Error as error:
            log.error("the export failed: %s", error)  # noqa: TRY400
            pause = RETRY_SECONDS
        except Exception as error:  # noqa: BLE001 - the next export may succeed
            log.error("the export failed: %s", type(error).__name__)  # noqa: TRY400
            pause = RETRY_SECONDS
        await asyncio.sleep(pause)
