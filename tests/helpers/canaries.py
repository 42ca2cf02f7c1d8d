"""Words and times that must be nowhere, and every form in which to look for them."""

import base64
import contextlib
import json
import re
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FRAGMENT_BYTES: Final = 10
"""A text is also looked for in pieces of this length: compression cuts words."""

CHANCE_BYTES: Final = 4
"""Needles this short turn up by chance; they count only where several do."""

UNPACKED_BYTES_MAX: Final = 1024 * 1024
ZSTD_STARTS: Final = re.compile(re.escape(b"\x28\xb5\x2f\xfd"))
ZLIB_STARTS: Final = re.compile(b"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", re.DOTALL)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Needle:
    """One form of one canary."""

    canary: str
    form: str
    data: bytes


def text_needles(name: str, text: str) -> Iterator[Needle]:
    """Yield the forms of a text."""
    plain = text.encode()
    yield from bytes_needles(name, plain)
    for form, other in (
        ("utf-16-le", text.encode("utf-16-le")),
        ("utf-16-be", text.encode("utf-16-be")),
        ("lower case", text.lower().encode()),
        ("upper case", text.upper().encode()),
        ("JSON", json.dumps(text)[1:-1].encode()),
        ("JSON twice", json.dumps(json.dumps(text))[3:-3].encode()),
    ):
        yield Needle(name, form, other)
    for at in range(len(plain) - FRAGMENT_BYTES + 1):
        yield Needle(name, f"piece at {at}", plain[at : at + FRAGMENT_BYTES])


def bytes_needles(name: str, raw: bytes) -> Iterator[Needle]:
    """Yield the forms of some bytes."""
    yield Needle(name, "raw", raw)
    yield Needle(name, "reversed", raw[::-1])
    yield Needle(name, "hex", raw.hex().encode())
    yield Needle(name, "HEX", raw.hex().upper().encode())
    yield Needle(name, "hex with spaces", raw.hex(" ").encode())
    yield Needle(name, "escaped", repr(raw)[2:-1].encode())
    for offset in range(3):
        # What base64 makes of the bytes wherever they begin: without the
        # characters that depend on what stands before and after.
        padded = bytes(offset) + raw
        padded = padded[: len(padded) // 3 * 3]
        skipped = 4 if offset else 0
        for form, encode in (
            ("base64", base64.standard_b64encode),
            ("base64url", base64.urlsafe_b64encode),
        ):
            data = encode(padded)[skipped:]
            yield Needle(name, f"{form} at {offset}", data)
    yield Needle(name, "base32", base64.b32encode(raw[: len(raw) // 5 * 5]))
    yield Needle(name, "base85", base64.b85encode(raw[: len(raw) // 4 * 4]))


def time_needles(name: str, moment_us: int) -> Iterator[Needle]:
    """Yield the forms of a moment, in microseconds since 1970."""
    moment = EPOCH + timedelta(microseconds=moment_us)
    whole = moment.replace(microsecond=0)
    for form, text in (
        ("ISO", moment.isoformat()),
        ("ISO date and time", whole.strftime("%Y-%m-%dT%H:%M:%S")),
        ("date and time", whole.strftime("%Y-%m-%d %H:%M:%S")),
        ("compact", whole.strftime("%Y%m%dT%H%M%S")),
        ("compact digits", whole.strftime("%Y%m%d%H%M%S")),
    ):
        yield Needle(name, form, text.encode())
        yield Needle(name, f"{form}, utf-16", text.encode("utf-16-le"))
    yield from number_needles(name, moment_us)
    seconds = moment_us // 1_000_000
    yield Needle(name, "uint32 s, little", struct.pack("<I", seconds))
    yield Needle(name, "uint32 s, big", struct.pack(">I", seconds))


def number_needles(name: str, value_us: int) -> Iterator[Needle]:
    """Yield the forms of a number of microseconds, and of it in ms and s."""
    for unit, scale in (("us", 1), ("ms", 1_000), ("s", 1_000_000)):
        number = value_us // scale
        digits = str(number).encode()
        if len(digits) >= 8:
            yield Needle(name, f"decimal {unit}", digits)
            wide = str(number).encode("utf-16-le")
            yield Needle(name, f"decimal {unit}, utf-16", wide)
        for order, mark in (("little", "<"), ("big", ">")):
            packed = struct.pack(f"{mark}q", number)
            yield Needle(name, f"int64 {unit}, {order}", packed)
            for kind, value in (("exact", value_us / scale), ("whole", float(number))):
                packed = struct.pack(f"{mark}d", value)
                yield Needle(name, f"{kind} float64 {unit}, {order}", packed)
        if number >= 1 << 40:
            # As the low bytes of a number that was cut short.
            yield Needle(
                name, f"6 bytes {unit}, little", number.to_bytes(8, "little")[:6]
            )
            yield Needle(name, f"6 bytes {unit}, big", number.to_bytes(8, "big")[2:])
    yield Needle(name, "decimal s.us", f"{value_us / 1e6:.6f}".encode())


def compressed(data: bytes) -> bytes:
    """Return a zstd frame."""
    return zstd.compress(data)


def unpacked(haystack: bytes) -> Iterator[bytes]:
    """Yield what anything in there that looks compressed holds."""
    for start in ZSTD_STARTS.finditer(haystack):
        with contextlib.suppress(zstd.ZstdError):
            yield zstd.ZstdDecompressor().decompress(
                haystack[start.start() :], max_length=UNPACKED_BYTES_MAX
            )
    for start in ZLIB_STARTS.finditer(haystack):
        with contextlib.suppress(zlib.error):
            data = haystack[start.start() : start.start() + UNPACKED_BYTES_MAX]
            # 32: it says in its head whether it is zlib or gzip.
            plain = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(data)
            if len(plain) > FRAGMENT_BYTES:
                yield plain


class Search:
    """Looks for every needle in files and output, and remembers what it has seen."""

    def __init__(self, needles: Mapping[str, list[Needle]]) -> None:
        # An escape of plain ASCII is the text itself: look for each form once.
        forms: dict[bytes, Needle] = {}
        for several in needles.values():
            for needle in several:
                forms.setdefault(needle.data, needle)
        self._needles = list(forms.values())
        short = [n for n in self._needles if len(n.data) < CHANCE_BYTES]
        assert not short, f"too short to mean anything: {short}"
        self.bytes_seen = 0

    def found(self, haystack: bytes) -> list[Needle]:
        """Return what is in there, compressed parts included."""
        self.bytes_seen += len(haystack)
        everything = b"\n".join([haystack, *unpacked(haystack)])
        hits = [needle for needle in self._needles if needle.data in everything]
        by_chance = [n for n in hits if len(n.data) <= CHANCE_BYTES]
        if len({needle.canary for needle in by_chance}) < 2:
            hits = [needle for needle in hits if needle not in by_chance]
        return hits

    def check(self, where: str, haystack: bytes) -> None:
        """Fail, naming the canaries and the place, if anything is in there."""
        hits = self.found(haystack)
        assert not hits, f"{where} shows " + ", ".join(
            f"{needle.canary} ({needle.form})" for needle in hits[:10]
        )

    def check_tree(self, directory: Path, *, but: frozenset[str] = frozenset()) -> int:
        """Check every file below `directory`, its name too; return how many."""
        count = 0
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory))
            self.check(f"the name {name!r}", name.encode())
            if path.is_file() and path.name not in but:
                self.check(name, path.read_bytes())
                count += 1
        return count
