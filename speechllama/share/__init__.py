"""What leaves an experiment: its adapters, its LLM, its package, and the repository on a hub that describes it."""
