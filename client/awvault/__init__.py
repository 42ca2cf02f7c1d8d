"""The vault: everything that holds a key or shows plaintext."""
