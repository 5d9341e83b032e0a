"""Records of other apps as domain events."""
