"""The network, one file per station; plain PyTorch that imports neither ESPnet nor the rest of this package."""
