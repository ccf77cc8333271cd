"""Entry points: `get_parser()` and `main(cmd=None)`, no logic; `python3 -m speechllama.bin.NAME --help`."""
