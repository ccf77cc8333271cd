"""Scores, the page of results, and the table of many systems."""
