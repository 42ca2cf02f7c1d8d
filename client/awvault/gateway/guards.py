"""Who may talk to the gateway: the checks of Host, Origin and key, and CORS.

Most gateways ask for no key, so the only thing between a web page and a person's
data is the browser. Three checks keep pages out:

* Host: a page that rebinds its own name to 127.0.0.1 sends that name.
* Origin and Sec-Fetch-Site, on writes: a browser sends a form to any address,
  CORS or not; it then says where the form came from.
* CORS: a page may read an answer only if its origin is named in it.

A request without Origin and Sec-Fetch-Site does not come from a page and passes.
Where a key is set, whoever does not show it learns nothing but that.
"""

import re
from collections.abc import Mapping
from typing import Final

from awvault.gateway.refusals import Refusal
from awvault.gateway.settings import GatewaySettings

HEADER_ECHO_CHARS_MAX: Final = 100
"""A refused Host is repeated up to this length."""

REQUESTED_HEADERS_CHARS_MAX: Final = 1024
PREFLIGHT_SECONDS_MAX: Final = 600
"""How long a browser may remember the answer to a preflight."""

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

WEB_WATCHER_CHROME: Final = "chrome-extension://nglaklhklhcoonedhgnpgddginnjdadi"
"""ActivityWatch's browser watcher. Firefox gives every installation a new id."""

TESTING_ORIGINS: Final = frozenset({"http://127.0.0.1:27180", "http://localhost:27180"})
"""Where ActivityWatch's web interface is developed."""

KEY_MISSING: Final = (
    "Missing or invalid API key. Set 'Authorization: Bearer <key>' header."
)

METHODS: Final = "DELETE, GET, HEAD, OPTIONS, POST"

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
_ORIGIN: Final = re.compile(r"http://(\[[0-9a-f:.]+\]|[^:/\[\]]+)(?::([0-9]{1,5}))?")
_FIREFOX_EXTENSION: Final = re.compile(r"moz-extension://[0-9A-Za-z-]{1,64}")
_CHROME_EXTENSION: Final = re.compile(r"chrome-extension://[a-p]{32}")
_HEADER_NAMES: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z, -]+")


class Guards:
    """The checks, with what the settings allow."""

    __slots__ = ("_hosts", "_key", "_origins", "_refusals", "_testing", "_usual_host")

    def __init__(self, settings: GatewaySettings) -> None:
        """Allow loopback names, the address listened on, and `cors_origins`."""
        bound = settings.listen_host.lower()
        if ":" in bound and not bound.startswith("["):
            bound = f"[{bound}]"
        self._hosts = LOOPBACK_NAMES | {bound}
        self._origins = {o.rstrip("/").lower() for o in settings.cors_origins}
        self._origins.add(WEB_WATCHER_CHROME)
        if settings.testing:
            self._origins |= TESTING_ORIGINS
        self._testing = settings.testing
        self._key = settings.api_key
        self._refusals = settings.key_refusals
        # Watchers send the same Host for ever; remembering the last good one
        # saves taking it apart.
        self._usual_host = ""

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raise a 400 unless the request was addressed to this machine by name."""
        host = headers.get("Host")
        if host == self._usual_host and host:
            return
        if not host:
            raise Refusal(400, "host header is missing")
        name = _host_name(host)
        if name not in self._hosts:
            shown = host[:HEADER_ECHO_CHARS_MAX]
            raise Refusal(400, f"host header is invalid (was {shown})")
        self._usual_host = host

    def check_write(self, headers: Mapping[str, str]) -> None:
        """Raise a 403 if a web page that is not allowed to sent this write."""
        origin = headers.get("Origin")
        if origin is None:
            site = headers.get("Sec-Fetch-Site")
            if site is None or site in {"same-origin", "none"}:
                return
        elif self.allows(origin, headers):
            return
        raise Refusal(
            403,
            "a web page of another site must not write here",
        )

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Raise a 401 unless the request shows the key, where one is set."""
        if self._key is None:
            return
        scheme, _, offered = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._key.matches(offered.strip()):
            self._refusals.note()
            raise Refusal(401, KEY_MISSING, headers={"WWW-Authenticate": "Bearer"})

    def allows(self, origin: str, headers: Mapping[str, str]) -> bool:
        """Say whether pages of `origin` may read answers and write."""
        origin = origin.lower()
        if origin in self._origins or _FIREFOX_EXTENSION.fullmatch(origin):
            return True
        if self._testing and _CHROME_EXTENSION.fullmatch(origin):
            return True
        # Our own pages, under each name that this machine has for itself: the
        # port is the one the browser used, which differs behind `ssh -L`.
        own = _ORIGIN.fullmatch(origin)
        host = _HOST.fullmatch(headers.get("Host", "").lower())
        return (
            own is not None
            and host is not None
            and own[1] in self._hosts
            and (own[2] or "80") == (host[2] or "80")
        )

    def cors_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return what lets the page that sent `headers` read the answer."""
        origin = headers.get("Origin")
        if origin is None:
            return {}
        if not self.allows(origin, headers):
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def preflight_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the answer to a preflight, without what `cors_headers` gives."""
        origin = headers.get("Origin")
        if (
            origin is None
            or "Access-Control-Request-Method" not in headers
            or not self.allows(origin, headers)
        ):
            return {}
        answer = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS_MAX),
        }
        requested = headers.get("Access-Control-Request-Headers", "")
        if len(requested) <= REQUESTED_HEADERS_CHARS_MAX and _HEADER_NAMES.fullmatch(
            requested
        ):
            answer["Access-Control-Allow-Headers"] = requested
        return answer


def _host_name(host: str) -> str | None:
    match = _HOST.fullmatch(host.lower())
    return match[1] if match else None
