"""The one container that holds the engine's socket: a subset of the Docker Engine API that starts our unit containers and nothing else."""
