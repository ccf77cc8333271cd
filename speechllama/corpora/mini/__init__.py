"""The miniature corpus: a grammar in four languages, spoken, in CoVoST 2's format on disk."""
