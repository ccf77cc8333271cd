"""Forms that corpora are published in, whatever they contain: their files -> Utterance -> data directories."""
