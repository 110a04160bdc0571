"""What a served model is watched by: drift and hard frames."""
