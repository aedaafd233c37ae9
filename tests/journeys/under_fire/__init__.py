"""Whole runs with real processes, databases and servers that are killed, frozen, filled up and switched off."""
