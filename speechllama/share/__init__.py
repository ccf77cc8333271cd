"""What leaves an experiment: its adapters, its LLM, its package, and the page of a hub that describes it."""
