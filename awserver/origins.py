"""The origin of a host: what a proof is bound to, so that no other host can use it."""

from typing import Final
from urllib.parse import urlsplit

from awserver.errors import InvalidRequestError

ORIGIN_CHARS_MAX: Final = 300
_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Return scheme://host[:port] of a URL, in the one form that is signed.

    Lower case, a default port left out, an international host name as it travels
    (IDNA). Raises `InvalidRequestError` for what is no http or https address, or
    has a user name in it.
    """
    if len(url) > ORIGIN_CHARS_MAX:
        raise InvalidRequestError(
            f"the address has {len(url)} characters, at most {ORIGIN_CHARS_MAX}"
        )
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidRequestError(f'"{url}" is not an address') from None
    if parts.scheme not in _PORTS or not host:
        raise InvalidRequestError(
            f'"{url}" is not an address of a host: give it as https://example.org'
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidRequestError("the address of a host has no user name in it")
    if ":" in host:
        host = f"[{host}]"
    else:
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise InvalidRequestError(f'"{host}" is not a host name') from None
    default = port is None or port == _PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if default else f":{port}")
