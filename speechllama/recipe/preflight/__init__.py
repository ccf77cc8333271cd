"""The preflight: what a run would need, estimated and measured in seconds, and every fault in one list."""
