"""One exchange with a host, within limits, whatever it answers.

No redirect is followed, nothing is unpacked, no cookie is kept, and no proxy or
password file of the machine is looked at. What comes back is counted while it
comes, and whoever sends too slowly is cut off.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NoReturn, SupportsIndex, TypeVar
from urllib.parse import urlsplit

import msgspec

from awserver.errors import InvalidRequestError
from awserver.origins import origin_of
from awserver.wire import PROBLEM_TYPE, Problem
from awvault.errors import (
    CertificateError,
    HostBusyError,
    HostRefusedError,
    InvalidInputError,
    MalformedAnswerError,
    TransportError,
)

# Dear to load, and most commands never talk to a host: imported where it is used.
if TYPE_CHECKING:
    import aiohttp

PROBLEM_BYTES_MAX: Final = 16 * 1024
"""Of an answer that says no."""

DETAIL_CHARS_MAX: Final = 300
"""Of a host's own words, as they are shown."""

CODE_CHARS_MAX: Final = 64
RETRY_SECONDS_MAX: Final = 3600.0
"""The longest pause that a host can ask for."""

CHUNK_BYTES: Final = 64 * 1024
"""Of a request's body, handed to the socket at once."""

CONNECTIONS_MAX: Final = 8

_CODE_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a host may take. Sizes stand beside what they are the size of."""

    connect_seconds: float = 15.0
    stall_seconds: float = 30.0
    """The longest silence; and all waiting beyond what the rate allows for."""
    rate_bytes_min: int = 4096
    """Per second, sent or received, once `stall_seconds` are used up."""


LIMITS: Final = Limits()


class SessionToken:
    """What stands for a proof, for a while. In memory only."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold the token as the host gave it."""
        self._text = text

    def reveal(self) -> str:
        """Return the token. Only `Channel` calls this."""
        return self._text

    def __repr__(self) -> str:
        return "<SessionToken redacted>"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("SessionToken must not be pickled or copied")


def host_origin(url: str, *, insecure: bool = False) -> str:
    """Return the origin of a host's address as a person typed it.

    Raises `InvalidInputError` for what is no such address, and for plain http to
    another machine, unless `insecure`.
    """
    try:
        origin = origin_of(url)
    except InvalidRequestError as error:
        raise InvalidInputError("url", str(error)) from None
    parts = urlsplit(url.strip())
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise InvalidInputError(
            "url", f'the address of a host ends with its name or port: "{origin}"'
        )
    if origin.startswith("http:") and not insecure and not _is_loopback(origin):
        raise InvalidInputError(
            "url",
            f"{origin} is not encrypted: whoever is on the way could end your sessions,"
            " and see when you are at work. Use https, or say --insecure",
        )
    return origin


def _is_loopback(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Answer:
    """A host's answer, its head read and its body not yet."""

    def __init__(
        self, response: "aiohttp.ClientResponse", origin: str, limits: Limits
    ) -> None:
        """Read the body of `response` within `limits`."""
        self._response = response
        self._origin = origin
        self._limits = limits

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def content_type(self) -> str:
        """The media type, in lower case, without parameters."""
        return self._response.headers.get("Content-Type", "").partition(";")[0].lower()

    def header(self, name: str) -> str:
        """Return a header, or nothing."""
        return self._response.headers.get(name, "")

    async def chunks(self, bytes_max: int) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises `MalformedAnswerError` after `bytes_max` bytes, and
        `TransportError` for who stops, or sends too slowly. What the reader of
        the chunks takes does not count as the host's time.
        """
        waited, received = 0.0, 0
        loop = asyncio.get_running_loop()
        declared = self._response.content_length
        if declared is not None and declared > bytes_max:
            raise _too_large(bytes_max)
        while True:
            left = (
                self._limits.stall_seconds
                + received / self._limits.rate_bytes_min
                - waited
            )
            begun = loop.time()
            with _failures(self._origin):
                chunk = await _within(
                    min(left, self._limits.stall_seconds),
                    self._response.content.readany(),
                )
            waited += loop.time() - begun
            if not chunk:
                return
            received += len(chunk)
            if received > bytes_max:
                raise _too_large(bytes_max)
            yield chunk

    async def read(self, bytes_max: int) -> bytes:
        """Return the whole body; raises as `chunks`."""
        parts = [chunk async for chunk in self.chunks(bytes_max)]
        return b"".join(parts)


class Channel:
    """Connections to one host."""

    def __init__(
        self,
        origin: str,
        *,
        limits: Limits = LIMITS,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """Talk to `origin` alone. `trust` names other roots than the system's."""
        self.origin = origin
        self._limits = limits
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None
        self.token: SessionToken | None = None

    async def close(self) -> None:
        """End all connections, and forget the token."""
        self.token = None
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        expect: Sequence[int],
        body: bytes | None = None,
        body_type: str = "",
        authorised: bool = True,
        wait_seconds: float = 0.0,
    ) -> AsyncIterator[Answer]:
        """Send one request, and give the answer if its status is one of `expect`.

        `wait_seconds` is how long the host was asked to wait before it answers.
        Raises `HostRefusedError` if it says no, and `TransportError` or one of
        its kinds for all else.
        """
        from yarl import URL

        headers = {"Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = body_type
            headers["Content-Length"] = str(len(body))
        if authorised and self.token is not None:
            headers["Authorization"] = f"Bearer {self.token.reveal()}"
        limits = self._limits
        patience = limits.connect_seconds + limits.stall_seconds + wait_seconds
        patience += len(body or b"") / limits.rate_bytes_min
        with _failures(self.origin):
            response = await _within(
                patience,
                self._opened().request(
                    method,
                    URL(self.origin + path, encoded=True),
                    data=None if body is None else _parts(body),
                    headers=headers,
                    allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Accept"),
                ),
            )
        try:
            answer = Answer(response, self.origin, limits)
            if answer.header("Content-Encoding") not in {"", "identity"}:
                raise MalformedAnswerError(
                    f"{self.origin} packed its answer, and was told not to"
                )
            if answer.status not in expect:
                await self._refused(answer)
            yield answer
        finally:
            # What was not read is not worth a connection.
            response.close()

    async def _refused(self, answer: Answer) -> NoReturn:
        """Raise what an answer of another status than expected means."""
        status = answer.status
        if 300 <= status < 400:
            raise MalformedAnswerError(
                f"{self.origin} sends on to another address, which is never followed:"
                " give the address of the host itself"
            )
        problem = None
        if answer.content_type == PROBLEM_TYPE:
            with contextlib.suppress(ValueError, RecursionError):
                problem = msgspec.json.decode(
                    await answer.read(PROBLEM_BYTES_MAX), type=Problem
                )
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
            raise HostBusyError(
                f"{self.origin} cannot do this now: "
                + (f"status {status}" if problem is None else shown(problem.detail)),
                code="" if problem is None else _code(problem),
                retry_seconds=_seconds(answer.header("Retry-After")),
            )
        if problem is None or status < 400:
            raise MalformedAnswerError(
                f"{self.origin} answered with status {status}, and not as a host does:"
                " is it the right address?"
            )
        raise HostRefusedError(
            f"the host refused: {shown(problem.detail)}",
            code=_code(problem),
            expected_seq=problem.expected_seq,
            expected_version=problem.expected_version,
        )

    def _opened(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            trust = True if self._trust is None else self._trust
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=trust),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._limits.connect_seconds
                ),
            )
        return self._session


@contextlib.contextmanager
def _failures(origin: str) -> Iterator[None]:
    """Turn what the network does into errors of this package."""
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError

    try:
        yield
    except (
        aiohttp.ClientConnectorCertificateError,
        aiohttp.ClientConnectorSSLError,
    ) as error:
        raise CertificateError(
            f"{origin} does not show that it is that host: {_reason(error)}"
        ) from None
    except TimeoutError:
        raise TransportError(f"{origin} does not answer, or far too slowly") from None
    except aiohttp.ClientConnectorError as error:
        raise TransportError(f"{origin} cannot be reached: {_reason(error)}") from None
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        raise TransportError(
            f"the connection to {origin} broke: {_reason(error)}"
        ) from None


def shown(text: str) -> str:
    """Return a host's own words, cut, with nothing that does not print."""
    return "".join(c if c.isprintable() else "?" for c in text[:DETAIL_CHARS_MAX])


async def _within(seconds: float, work: Awaitable[T]) -> T:
    async with asyncio.timeout(max(seconds, 0.0)):
        return await work


async def _parts(body: bytes) -> AsyncIterator[memoryview]:
    whole = memoryview(body)
    for at in range(0, len(body), CHUNK_BYTES):
        yield whole[at : at + CHUNK_BYTES]


def _too_large(bytes_max: int) -> MalformedAnswerError:
    return MalformedAnswerError(
        f"the host's answer has more than {bytes_max} bytes, which is the most"
    )


def _code(problem: Problem) -> str:
    code = problem.code[:CODE_CHARS_MAX]
    return code if _CODE_CHARS.issuperset(code) else "unknown"


def _seconds(retry_after: str) -> float | None:
    """Return a `Retry-After` in seconds; None: there is none that counts."""
    if not (retry_after.isascii() and retry_after.isdigit()):
        return None
    return min(float(retry_after[:6]), RETRY_SECONDS_MAX)


def _reason(error: Exception) -> str:
    """Return what went wrong, in the words of the system, cut and printable."""
    import aiohttp

    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return shown(cause.verify_message)
    if isinstance(cause, OSError):
        # asyncio puts the address in place of the system's words; where a name is
        # not found, the number is not one of the system's.
        number = cause.errno or 0
        return os.strerror(number) if number > 0 else shown(cause.strerror or "")
    return shown(type(cause).__name__)
