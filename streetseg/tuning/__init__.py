"""Hyperparameter search with Optuna."""

import matplotlib

matplotlib.use("Agg")  # the backend that MPLBACKEND names, such as a notebook's, may be missing
