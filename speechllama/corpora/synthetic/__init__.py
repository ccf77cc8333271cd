"""Synthetic speech: text -> eSpeak NG -> a room and noise."""
