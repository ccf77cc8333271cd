"""The preflight: estimate and measure what a run needs, and list every fault at once."""
