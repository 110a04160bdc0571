"""From frames on disk to a prepared dataset and its versions."""
