"""Running a pipeline on this machine, in processes or containers."""
