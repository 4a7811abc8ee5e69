"""`python -m reports.history`: a metric over the runs of the history."""

import sys

from harness.core.crash import guarded
from reports.history.main import main

if __name__ == "__main__":
    sys.exit(guarded(main))
