"""The parts of the HTTP service that do not depend on BentoML."""
