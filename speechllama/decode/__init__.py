"""From audio to text: search, decoding of data directories, Speech2Text."""
