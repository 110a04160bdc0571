"""Great Expectations checks and the page about a dataset."""
