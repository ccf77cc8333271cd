"""The network as ESPnet tasks: the only package that imports ESPnet."""
