"""What a run of a recipe is, decided once: options, system, layout, stages; and its preflight."""
