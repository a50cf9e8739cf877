"""`python -m modelforge.cli` is the same as the program `modelforge`."""

import sys

from modelforge.cli import main

if __name__ == "__main__":
    sys.exit(main())
