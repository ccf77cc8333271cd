"""What a run of a recipe is, planned once: options, system, paths, stages; and its preflight."""
