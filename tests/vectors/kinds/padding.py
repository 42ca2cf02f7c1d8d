"""Sizes in buckets, and padded contents."""

from functools import partial

from awvault.crypto.envelope import PLAINTEXT_BYTES_MAX
from awvault.crypto.padding import pad, padded_bytes, unpad
from tests.vectors.form import Fields, attempt, require_keys, unhex

NAME = "padding"

_SIZES = (
    *(1, 4, 511, 512, 513, 528, 529, 1000, 1024, 1025, 4095, 4096, 4097, 4224, 4225),
    *(9000, 65535, 65536, 65537, 100_000, 524_288, 524_289, 1_000_000),
    *(PLAINTEXT_BYTES_MAX - 1, PLAINTEXT_BYTES_MAX),
)


def make() -> dict[str, Fields]:
    vectors = {
        f"sizes_floor_{floor}": {
            "expect": "success",
            "comment": "size, length field included: padded size",
            "floor": str(floor),
            "sizes": " ".join(
                f"{size}={padded_bytes(size, floor=floor)}" for size in _SIZES
            ),
        }
        for floor in (512, 4096)
    }
    content = b"content"
    good = pad(content, floor=512)
    vectors["success"] = {
        "expect": "success",
        "comment": "seven bytes of content, floor 512",
        "padded": good.hex(),
        "content": content.hex(),
    }
    vectors["success_empty"] = {
        "expect": "success",
        "comment": "no content",
        "padded": pad(b"", floor=512).hex(),
        "content": "",
    }
    vectors["success_unpadded"] = {
        "expect": "success",
        "comment": "a reader asks for no floor",
        "padded": (len(content).to_bytes(4, "little") + content).hex(),
        "content": content.hex(),
    }
    for name, comment, padded in [
        ("empty", "no bytes at all", b""),
        ("short_length", "the length field is cut", good[:3]),
        (
            "length_beyond",
            "the length is one more than there is",
            (509).to_bytes(4, "little") + good[4:],
        ),
        ("length_huge", "the length is 2^32 - 1", b"\xff" * 4 + good[4:]),
        ("not_zero_first", "the first byte of padding is 1", _set(good, 11)),
        ("not_zero_last", "the last byte of padding is 1", _set(good, 511)),
    ]:
        vectors[name] = {
            "expect": "payload failure",
            "comment": comment,
            "padded": padded.hex(),
        }
    return vectors


def check(fields: Fields) -> None:
    if "sizes" in fields:
        require_keys(fields, {"floor", "sizes"}, set())
        for pair in fields["sizes"].split():
            size, padded = map(int, pair.split("="))
            assert padded_bytes(size, floor=int(fields["floor"])) == padded, size
        return
    require_keys(fields, {"padded"}, {"content"})
    content = attempt(fields, partial(unpad, unhex(fields, "padded")))
    if content is not None:
        assert content == unhex(fields, "content")


def _set(data: bytes, at: int) -> bytes:
    return data[:at] + b"\1" + data[at + 1 :]
