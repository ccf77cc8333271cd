"""Corpora: each becomes data directories, or is made first; general code knows none of them."""
