"""The network as ESPnet tasks: the only place that knows the host."""
