"""What a host does for its accounts: every rule, and no HTTP and no SQL."""
