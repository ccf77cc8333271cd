"""Data directories, features and their statistics, from recordings and transcripts; knows no model."""
