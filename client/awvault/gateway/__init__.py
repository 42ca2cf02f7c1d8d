"""The gateway: ActivityWatch's API and the activity API, in plain text, on loopback.

It parses requests into rows for the vault, and renders what the vault returns.
It knows HTTP and JSON; it knows no key, no SQL and no sealed byte.
docs/reference/gateway.md lists every route with its answers.
"""

from awvault.gateway.app import checks_for, create_gateway
from awvault.gateway.holder import VaultHolder
from awvault.gateway.server import create_runner
from awvault.gateway.settings import GatewaySettings

__all__ = [
    "GatewaySettings",
    "VaultHolder",
    "checks_for",
    "create_gateway",
    "create_runner",
]
