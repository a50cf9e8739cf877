"""`python app.py` opens the app; a Hugging Face Space runs the same file. Options are those of `modelforge ui`."""

import sys

from modelforge.cli import main

if __name__ == "__main__":
    sys.exit(main(["ui", *sys.argv[1:]]))
