"""How fields are joined so that no two lists of fields give the same bytes."""


def lp(*fields: bytes) -> bytes:
    """Return each field after its length, a u32 little-endian."""
    return b"".join(u32(len(field)) + field for field in fields)


def u8(value: int) -> bytes:
    """Return an unsigned integer in 1 byte."""
    return value.to_bytes(1, "little")


def u16(value: int) -> bytes:
    """Return an unsigned integer in 2 bytes, little-endian."""
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    """Return an unsigned integer in 4 bytes, little-endian."""
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    """Return an unsigned integer in 8 bytes, little-endian."""
    return value.to_bytes(8, "little")
