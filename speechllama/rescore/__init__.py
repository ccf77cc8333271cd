"""Rescoring: any system's n-best hypotheses, chosen again with an LLM's score."""
