"""Files, processes, terminals and errors, for all other packages."""
