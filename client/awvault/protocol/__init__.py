"""The trust room: what is believed, and why.

Pure: bytes in, typed values or a typed error out. On an error nothing that was
believed before has changed. docs/protocol/account-document.md and logs.md
number the rules.
"""
