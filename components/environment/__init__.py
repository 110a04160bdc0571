"""What a pod of the pipeline can reach and has: probes, and the table of their findings."""
