"""The person at the terminal, if there is one."""

import contextlib
import getpass
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TextIO


class TtyTerminal:
    """Asks on the controlling terminal and tells on standard error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def ask(self, prompt: str) -> str:
        """Return one line, not echoed. Raises EOFError or KeyboardInterrupt."""
        with _signals_interrupt():
            return getpass.getpass(prompt)

    def tell(self, message: str) -> None:
        """Show one line."""
        print(message, file=self._stream, flush=True)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let a signal to stop end the question.

    An event loop only notes a signal, and looks at it after the answer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    # What the system or whoever started this decided stays.
    ours = [number for number, handler in before.items() if callable(handler)]
    try:
        for number in ours:
            signal.signal(number, _interrupt)
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def find_terminal() -> TtyTerminal | None:
    """Return somebody who can be asked now, or None.

    Somebody can be asked if standard error is a terminal, a controlling terminal
    can be opened (standard input may be data), and this process is in its
    foreground: a job in the background would only be stopped by asking.
    """
    if not sys.stderr.isatty():
        return None
    if sys.platform == "win32":
        return TtyTerminal(sys.stderr) if sys.stdin.isatty() else None
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            return None
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return TtyTerminal(sys.stderr)
