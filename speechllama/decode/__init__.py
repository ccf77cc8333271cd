"""From audio to text: the search, batches of utterances, and Speech2Text."""
