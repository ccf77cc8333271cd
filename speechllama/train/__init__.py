"""Trainings as ESPnet tasks."""
