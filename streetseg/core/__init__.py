"""Files, processes, terminals and errors: what every package stands on."""
