"""Monitoring of a served model: drift and hard frames."""
