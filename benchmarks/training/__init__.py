"""The training loop beside other ways to train the same network: `python -m benchmarks.training.run` writes `benchmarks/training.md`."""
