"""Train and evaluate a model: ``python run_recbole_ml.py --model=SASRecV --dataset=microlens-100k``."""

import sys

from recbole_microlens.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
