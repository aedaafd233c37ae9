"""`python -m services.executors.stage VERB …`: an `mdmt` verb that ends with the process that started it."""

import runpy
from pathlib import Path

from training.parent import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    runpy.run_path(str(Path(__file__).parents[2] / "mdmt.py"), run_name="__main__")
