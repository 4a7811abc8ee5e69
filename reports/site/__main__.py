"""`python -m reports.site`: the history as pages that link to one another, and a feed."""

import sys

from harness.core.crash import guarded
from reports.site.main import main

if __name__ == "__main__":
    sys.exit(guarded(main))
