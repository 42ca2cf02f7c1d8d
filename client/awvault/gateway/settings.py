"""What the gateway must be told: who it is, and who may read and write."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from awvault.apikeys import ApiKey, KeyRefusals


def _hostname() -> str:
    return socket.gethostname() or "unknown"


def _version() -> str:
    try:
        return version("aw-server-e2ee")
    except PackageNotFoundError:  # run from sources that were never installed
        return "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The settings of one gateway."""

    data_dir: str = ""
    """Where the vault lies; named in the answer when its disk is full."""

    listen_host: str = "127.0.0.1"
    """The address it is bound to; accepted in a Host header beside `localhost`."""

    testing: bool = False
    """`/info` says so, and a bucket may be deleted without `force`."""

    hostname: str = field(default_factory=_hostname)
    """The name of this machine, for `/info` and for buckets sent as `!local`."""

    version: str = field(default_factory=_version)
    """The version that `/info` gives, without its leading `v`."""

    cors_origins: tuple[str, ...] = ()
    """Further origins (`https://example.org`) whose pages may read and write."""

    api_key: ApiKey | None = field(default=None, repr=False)
    """What clients must show as `Authorization: Bearer`; None: nothing."""

    key_refusals: KeyRefusals = field(default_factory=KeyRefusals, repr=False)
    """Where requests without it are counted."""

    webui: Path | None = None
    """The resolved directory whose files are served at `/`; None: a page of text."""

    webui_pages: Mapping[str, Path] = field(default_factory=dict)
    """What is served below `/pages/`: resolved directories, by name."""

    body_seconds_max: float = 30.0
    """A request's body must have arrived this long after its headers."""
