"""The socket that a service manager holds for this program, and word back to it.

systemd can listen in this program's place and hand the socket over at each start.
The kernel then holds connections while the program is down, so that a restart
refuses none: ActivityWatch's client drops an event for ever when it is refused.

The protocol is small and stable: sd_listen_fds(3) and sd_notify(3).
"""

import contextlib
import os
import socket
from collections.abc import MutableMapping
from ipaddress import ip_address
from typing import Final

from awvault.errors import Error

FIRST_DESCRIPTOR: Final = 3
"""Descriptors are handed over from here on."""

_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class ActivationError(Error):
    """What a service manager handed over is no socket that can be served."""

    def __init__(self, message: str) -> None:
        """Say what it is."""
        super().__init__(message)
        self.hint = (
            "a unit of type .socket for this program has one line such as"
            " ListenStream=127.0.0.1:5600: `awvault service install` writes it"
        )


def passed_socket(environment: MutableMapping[str, str]) -> socket.socket | None:
    """Return the listening socket that was handed over; None: there is none.

    Takes the variables that name it out of `environment`, so that no child takes
    it for its own. Raises `ActivationError` unless it is one socket that listens
    on a loopback address.
    """
    given = {name: environment.pop(name, "") for name in _VARIABLES}
    if given["LISTEN_PID"] != str(os.getpid()) or given["LISTEN_FDS"] in {"", "0"}:
        # Nothing, or what was meant for a process that started this one.
        return None
    if given["LISTEN_FDS"] != "1":
        raise ActivationError(
            f"the service manager handed over {given['LISTEN_FDS']} sockets, not one"
        )
    try:
        listener = socket.socket(fileno=FIRST_DESCRIPTOR)
    except OSError as error:
        raise ActivationError(
            f"what the service manager handed over is no socket: {error.strerror}"
        ) from error
    try:
        _check(listener)
    except BaseException:
        listener.close()
        raise
    listener.set_inheritable(False)
    listener.setblocking(False)  # noqa: FBT003 - its only argument
    return listener


def _check(listener: socket.socket) -> None:
    """Raise `ActivationError` unless it listens, for this machine alone."""
    if (
        listener.family not in {socket.AF_INET, socket.AF_INET6}
        or listener.type != socket.SOCK_STREAM
        or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        raise ActivationError(
            "what the service manager handed over is no TCP socket that listens"
        )
    host = listener.getsockname()[0]
    if not ip_address(host).is_loopback:
        raise ActivationError(
            f"the service manager listens on {host}, and not on a loopback address:"
            " this server shows your data in plain text to whoever can reach it"
        )


def notify(state: str, environment: MutableMapping[str, str]) -> None:
    """Tell the service manager `state`, such as `READY=1`, if it asked to be told."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # "@" stands for the zero byte that begins an abstract name.
    where = "\0" + address[1:] if address.startswith("@") else address
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.connect(where)
        manager.send(state.encode())
