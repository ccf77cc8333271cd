"""The network, one file per station of the flow: plain PyTorch, without ESPnet."""
