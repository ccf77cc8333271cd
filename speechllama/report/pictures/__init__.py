"""Pictures: an utterance's way through the compressor, and the training, lengths and scores of a system."""
