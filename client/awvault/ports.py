"""Take the port, or say who has it and what to do about that."""

import contextlib
import errno
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from awvault.errors import Error

BACKLOG: Final = 512
"""How many connections the kernel holds until they are accepted."""

PROBE_TIMEOUT_SECONDS: Final = 1.0
SERVER_NAME: Final = b"aw-server"
"""What the gateway calls itself in the header `Server`."""
PROBE_BYTES_MAX: Final = 64 * 1024
PROC_TABLE_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PortHolder:
    """What can be found out about the program that listens on a port."""

    # None: not found, or another user's.
    pid: int | None
    program: str | None
    # The version that it gives at /api/0/info; None: it does not answer there.
    api_version: str | None
    # True: it names itself as this program does.
    ours: bool = False


class PortBusyError(Error):
    """Another program listens where this one should."""

    def __init__(self, *, host: str, port: int, holder: PortHolder) -> None:
        who = "another program"
        if holder.pid is not None:
            who = f'"{holder.program}" (pid {holder.pid})'
        does = ""
        self.hint = "stop it, or choose another port with --port"
        if holder.ours:
            does = ": an aw-server of this program already listens there"
            self.hint = (
                "`awvault status` says whether it serves your vault; stop it, or"
                " choose another port with --port"
            )
        elif holder.program == "systemd":
            does = ", for a program that it starts when somebody connects"
            self.hint = (
                "`systemctl --user status aw-server.socket` says whether that is this"
                " program; `systemctl --user stop aw-server.socket` frees the port"
            )
        elif holder.api_version is not None:
            does = f", which answers as an ActivityWatch server {holder.api_version}"
            self.hint = "stop that server first: watchers can talk to only one of them"
        super().__init__(f"port {port} on {host} is taken by {who}{does}")
        self.host = host
        self.port = port
        self.holder = holder


class PortRefusedError(Error):
    """The system does not let this process listen there."""


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has `host`:`port`, a loopback address, to itself.

    Nobody can connect until `start_listening`. Raises `PortBusyError` (with who
    has it) or `PortRefusedError`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # There, SO_REUSEADDR lets two programs share a port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Start again at once after a stop, whatever connections linger.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except OSError as error:
        listener.close()
        raise _refused(host, port, error) from error
    except BaseException:
        listener.close()
        raise
    return listener


def start_listening(listener: socket.socket, host: str, port: int) -> None:
    """Listen: from here on the kernel holds connections until they are accepted.

    Raises what `bind_socket` raises, should another program have been faster.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise _refused(host, port, error) from error


def _refused(host: str, port: int, error: OSError) -> Error:
    if error.errno == errno.EADDRINUSE or is_listening(host, port):
        return PortBusyError(host=host, port=port, holder=find_holder(host, port))
    return PortRefusedError(
        f"cannot listen on {host} port {port}: {error.strerror or error}"
    )


def is_listening(host: str, port: int) -> bool:
    """Tell whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def find_holder(host: str, port: int) -> PortHolder:
    """Return what can be found out about who listens there. Never raises."""
    pid = _listening_pid(port)
    head, body = _ask(host, port)
    return PortHolder(
        pid=pid,
        program=None if pid is None else _program(pid),
        api_version=_api_version(head, body),
        ours=any(
            line.lower().replace(b" ", b"") == b"server:" + SERVER_NAME
            for line in head.split(b"\r\n")
        ),
    )


class _Info(msgspec.Struct):
    """The one field of ActivityWatch's /api/0/info that is used here."""

    version: str


def _ask(host: str, port: int) -> tuple[bytes, bytes]:
    """Ask `GET /api/0/info`, as a watcher would; return head and body."""
    request = (
        f"GET /api/0/info HTTP/1.0\r\nHost: localhost:{port}\r\n"
        "Connection: close\r\n\r\n"
    )
    answer = b""
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_SECONDS) as probe:
            probe.sendall(request.encode("ascii"))
            while len(answer) < PROBE_BYTES_MAX and (part := probe.recv(4096)):
                answer += part
    except OSError:
        return b"", b""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def _api_version(head: bytes, body: bytes) -> str | None:
    """Return the version that an answer names. None: it is no such answer."""
    try:
        info = msgspec.json.decode(body, type=_Info)
    except ValueError:
        return None
    if not head.startswith(b"HTTP/1.") or b" 200" not in head[:16]:
        return None
    # It goes to a terminal: letters and digits only, and not many.
    return "".join(c for c in info.version if c.isalnum() or c in "._- +()")[:40]


def _listening_pid(port: int) -> int | None:
    """Find the process through /proc (Linux). None elsewhere, or another user's."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        # Another user's process may not be looked into; others end meanwhile.
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in wanted:
                        return int(process.name)
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with Path(table).open("rb") as file:
                text = file.read(PROC_TABLE_BYTES_MAX).decode("ascii", "replace")
        except OSError:
            continue
        for line in text.splitlines()[1:]:
            fields = line.split()
            # sl, local address (hex address:port), remote, state (0A = listening),
            # queues, timer, retransmits, uid, timeout, inode.
            if len(fields) < 10 or fields[3] != "0A":
                continue
            if int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _program(pid: int) -> str:
    """Return the program's name, for a person to read."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()[:4096]
    except OSError:
        raw = b""
    words = [os.path.basename(w) for w in raw.decode("utf-8", "replace").split("\0")]  # noqa: PTH119
    name = words[0] if words else ""
    if name.startswith("python") and len(words) > 1 and not words[1].startswith("-"):
        # `python /somewhere/aw-server`: the script is the name that people know.
        name = words[1]
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return printable[:60] or "unknown"
