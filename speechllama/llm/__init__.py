"""Text LLMs: which one, loading, its record, and those that a recipe trains itself."""
