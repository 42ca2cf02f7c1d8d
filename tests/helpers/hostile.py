"""Servers that answer with bytes of the test's choosing: what no honest host sends."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

Speak = Callable[[asyncio.StreamWriter], Awaitable[None]]

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
PROBLEM: Final = "application/problem+json"


@dataclass(slots=True)
class Hostile:
    """One such server, and what it was sent."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    """The head and the body of each request."""


@contextlib.asynccontextmanager
async def hostile(
    speak: Speak, *, trust: ssl.SSLContext | None = None
) -> AsyncIterator[Hostile]:
    """Run a server on loopback that lets `speak` answer every request."""
    server = Hostile()

    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        size = int(line.partition(b":")[2])
                server.requests.append(head + await reader.readexactly(size))
                await speak(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=trust)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if trust else 'http'}://127.0.0.1:{port}"
    async with listener:
        yield server


def answer(
    body: bytes,
    *,
    status: str = "200 OK",
    content_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Speak:
    """Return what sends one whole answer."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return speak


def stream(
    parts: AsyncIterator[bytes],
    *,
    content_type: str = JSON,
    declared: int | None = None,
) -> Speak:
    """Return what sends an answer without an end, or with another than it says."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        length = "" if declared is None else f"Content-Length: {declared}\r\n"
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{length}"
            "Connection: close\r\n\r\n".encode()
        )
        async for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    return speak


async def silence(_writer: asyncio.StreamWriter) -> None:
    """Answer nothing, for ever."""
    await asyncio.Event().wait()


async def endless(
    part: bytes = b" " * 65536, *, pause: float = 0.0
) -> AsyncIterator[bytes]:
    """Yield the same bytes for ever."""
    while True:
        yield part
        await asyncio.sleep(pause)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1 that no authority signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "host")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, SHA256())
    )
    written = directory / "certificate.pem", directory / "key.pem"
    written[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    written[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return written
