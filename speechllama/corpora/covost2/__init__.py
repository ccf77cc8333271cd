"""CoVoST 2 with Common Voice: their files, rows and archives -> data directories."""
