"""What tells a system to run `aw-server` at login: texts for three of them.

Nothing here writes a file or starts anything.
"""

import plistlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET

from awvault.errors import Error

START_MINUTES_MAX: Final = 10
"""How long a start may take: a large database may have to be converted first."""

STOP_SECONDS_MAX: Final = 30
"""It ends in less; after this it is killed, which loses nothing acknowledged."""

RESTART_SECONDS: Final = 5
FAILED_STARTS_MAX: Final = 5
FAILED_STARTS_SECONDS: Final = 300
"""After so many failures in so many seconds it is left alone: a wrong passphrase
does not become right."""

_TASK_NAMESPACE: Final = "http://schemas.microsoft.com/windows/2004/02/mit/task"


class UnitError(Error):
    """A setting cannot be told to this system."""

    def __init__(self, message: str, *, hint: str) -> None:
        """Say which one, and what to do instead."""
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How `aw-server` is started, and where it listens."""

    name: str
    """Of the unit: `aw-server`, or `aw-server-testing`."""
    program: str
    """The absolute path of `aw-server`."""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str
    port: int

    @property
    def description(self) -> str:
        """Say what this is, in one line."""
        return f"{self.name}: your activity data, sealed on this machine"


def systemd_socket(command: Command) -> str:
    """Return the unit of the socket: systemd listens, also while nothing runs."""
    host = f"[{command.host}]" if ":" in command.host else command.host
    return f"""\
[Unit]
Description=Port of {command.name}

[Socket]
ListenStream={host}:{command.port}

[Install]
WantedBy=sockets.target
"""


def systemd_service(command: Command) -> str:
    """Return the unit of the service, which takes over the socket."""
    words = [_quoted(command.program)]
    words += [_quoted(word).replace("$", "$$") for word in command.arguments]
    environment = "".join(
        f"Environment={_quoted(f'{name}={value}')}\n"
        for name, value in sorted(command.environment.items())
    )
    return f"""\
[Unit]
Description={command.description}
Requires={command.name}.socket
After={command.name}.socket
StartLimitIntervalSec={FAILED_STARTS_SECONDS}
StartLimitBurst={FAILED_STARTS_MAX}

[Service]
Type=notify
ExecStart={" ".join(words)}
{environment}Restart=on-failure
RestartSec={RESTART_SECONDS}
TimeoutStartSec={START_MINUTES_MAX}min
TimeoutStopSec={STOP_SECONDS_MAX}
LimitCORE=0
NoNewPrivileges=yes
UMask=0077

[Install]
Also={command.name}.socket
WantedBy=default.target
"""


def launchd_agent(command: Command) -> str:
    """Return an agent for macOS, which starts at login and after a failure."""
    agent = {
        "Label": command.name,
        "ProgramArguments": [command.program, *command.arguments],
        "EnvironmentVariables": dict(command.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": RESTART_SECONDS,
        "ExitTimeOut": STOP_SECONDS_MAX,
        "ProcessType": "Background",
        "HardResourceLimits": {"Core": 0},
        "Umask": 0o077,
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def windows_task(command: Command) -> str:
    """Return a task for Windows' Task Scheduler, which starts at logon.

    A task has no environment of its own: raises `UnitError` where one is needed.
    """
    if command.environment:
        names = ", ".join(sorted(command.environment))
        raise UnitError(
            f"a task of Windows cannot set {names}",
            hint="write these settings into config.toml",
        )
    ET.register_namespace("", _TASK_NAMESPACE)
    task = _element("Task", {"version": "1.2"})
    _add(task, "RegistrationInfo", Description=command.description)
    _add(_add(task, "Triggers"), "LogonTrigger", Enabled="true")
    principal = _add(
        _add(task, "Principals"),
        "Principal",
        LogonType="InteractiveToken",
        RunLevel="LeastPrivilege",
    )
    principal.set("id", "Author")
    settings = _add(
        task,
        "Settings",
        MultipleInstancesPolicy="IgnoreNew",
        DisallowStartIfOnBatteries="false",
        StopIfGoingOnBatteries="false",
        Hidden="true",
    )
    _add(settings, "RestartOnFailure", Interval="PT1M", Count=str(FAILED_STARTS_MAX))
    settings.append(_element("ExecutionTimeLimit", {}, "PT0S"))
    actions = _add(task, "Actions")
    actions.set("Context", "Author")
    _add(
        actions,
        "Exec",
        Command=command.program,
        Arguments=subprocess.list2cmdline(command.arguments),
    )
    ET.indent(task)
    return ET.tostring(task, encoding="unicode") + "\n"


def _element(name: str, attributes: dict[str, str], text: str = "") -> ET.Element:
    made = ET.Element(f"{{{_TASK_NAMESPACE}}}{name}", attributes)
    made.text = text or None
    return made


def _add(parent: ET.Element, name: str, **children: str) -> ET.Element:
    """Add an element with children that hold text; return it."""
    made = _element(name, {})
    for child, text in children.items():
        made.append(_element(child, {}, text))
    parent.append(made)
    return made


def _quoted(word: str) -> str:
    """Return one word as systemd reads it: nothing in it has a meaning."""
    if not word.isprintable():
        raise UnitError(
            f"{word!r} cannot stand in a unit of systemd",
            hint="use a name without line breaks and control characters",
        )
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
