"""LibriSpeech: its parts, transcripts and recordings -> data directories."""
