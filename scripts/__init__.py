"""Jobs around the project: the demo, images for the documentation, trials by fire."""
