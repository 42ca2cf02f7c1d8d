"""How one process of a user asks another, which holds the vault, to do its work.

`server` is the listener in the process that holds the data directory; `client`
is the other side; `wire` is what they share. The client loads no HTTP library:
`awvault status` must not pay for one.
"""
