"""One folder per corpus: find or generate it, and write data directories."""
