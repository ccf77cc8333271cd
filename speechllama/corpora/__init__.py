"""Corpora: each is prepared as data directories, some are generated first; only recipe/ and bin/ import them."""
