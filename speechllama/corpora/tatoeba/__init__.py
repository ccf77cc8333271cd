"""Spoken Tatoeba: sentence pairs, spoken in many voices, rooms and noises."""
