"""Speech and text in: corpora -> data directories -> features -> units and statistics; knows no model."""
