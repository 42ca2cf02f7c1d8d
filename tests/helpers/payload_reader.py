"""A reader of payloads written from docs/protocol/payload.md, with other libraries.

It uses msgpack and integers, and nothing of `awvault`: slow, and plain.
"""

import struct
from typing import Any

import msgpack


def unzigzag(code: int) -> int:
    return code // 2 if code % 2 == 0 else -(code + 1) // 2


def read_payload(data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the header and all rows, each with its bucket."""
    version, header_bytes = struct.unpack_from("<BI", data)
    assert version == 1
    header = msgpack.unpackb(data[5 : 5 + header_bytes], strict_map_key=False)
    rows = sum(zone[1] for zone in header["z"])
    text_count = sum(zone[2] for zone in header["z"])
    at = 5 + header_bytes
    columns = []
    for planes, count in zip(header["p"], [rows] * 7 + [text_count], strict=True):
        column = [0] * count
        for plane in range(planes):
            for n in range(count):
                column[n] += data[at] << (8 * plane)
                at += 1
        columns.append(column)
    ids, starts, durations, numbers, revisions, stored, flags, lengths = columns
    texts = []
    for length in lengths:
        texts.append(data[at : at + length])
        at += length
    assert at == len(data)
    found = []
    row = 0
    event_id, end = header["i"], header["t"]
    first_text = 0
    for bucket_id, zone_rows, zone_texts in header["z"]:
        next_text = 0
        for _ in range(zone_rows):
            event_id += unzigzag(ids[row])
            start = end + unzigzag(starts[row])
            duration = durations[row] - 1
            end = start + max(duration, 0)
            if numbers[row] == 0:
                number = next_text
                next_text += 1
            else:
                number = numbers[row] - 1
            found.append(
                {
                    "bucket": bucket_id,
                    "id": event_id,
                    "revision": revisions[row],
                    "start": start,
                    "duration": duration,
                    "stored_at": (
                        -1 if stored[row] == 0 else start + unzigzag(stored[row] - 1)
                    ),
                    "flags": flags[row],
                    "text": texts[first_text + number],
                }
            )
            row += 1
        assert next_text == zone_texts
        first_text += zone_texts
    return header, found
