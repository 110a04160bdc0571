"""The PyTorch training loop and what it calls."""
