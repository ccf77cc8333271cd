"""One utterance made visible: its picture as a file, and a page in the browser that translates recordings."""
