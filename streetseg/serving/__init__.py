"""What stands between HTTP and the library; no BentoML in here."""
