"""Where sealed records lie, and what a place for them must guarantee."""
