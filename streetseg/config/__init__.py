"""Every setting: its type, default, range and section."""
