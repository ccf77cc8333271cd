"""An OpenAI-compatible HTTP endpoint: requests -> batches -> answers."""
