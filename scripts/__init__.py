"""Jobs around the project: the demo, pictures for the documentation, trials by fire."""
