"""The host: stores sealed records and counts them. It never holds a key."""

from importlib.metadata import version

__version__ = version("aw-server-e2ee")
