"""Events as columns, and columns as payload bytes. Pure; no clock, no I/O."""
