"""The dangerous room: every use of cryptography, and nothing else.

Pure: bytes in, bytes or a typed error out. No I/O, no clock, no logging;
randomness is passed in. docs/protocol/keys.md and record.md are the source of
every formula here.
"""
