"""Everything between a vault and its host. `transport` alone knows the network."""
