"""The one error with which a handler refuses a request that is not about data."""

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """Answer with `status` and a JSON message.

    `message` goes to the client, never into a log.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        """`close` ends the connection: its body has not been read to the end."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.close = close
