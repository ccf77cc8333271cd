"""Text LLMs: settings, loading, the record of which one, and those that a recipe trains itself."""
