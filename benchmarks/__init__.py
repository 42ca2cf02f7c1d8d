"""One runnable file per group of measurements; `make bench` runs them all."""
