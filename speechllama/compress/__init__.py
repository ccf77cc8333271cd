"""Compressed features: the cache, and the centroids of discrete units."""
