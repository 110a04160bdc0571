"""Networks in PyTorch, and how they become a model artifact."""
