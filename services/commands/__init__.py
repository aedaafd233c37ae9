"""Groups of verbs of the command line, one file per group: a typer app that `mdmt.py` mounts."""
