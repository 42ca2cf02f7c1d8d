"""Test vectors of the protocol: files for every implementation, and their maker."""
