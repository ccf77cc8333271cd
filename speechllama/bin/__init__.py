"""Entry points, one per job of a recipe: `python3 -m speechllama.bin.NAME --help`; no logic."""
