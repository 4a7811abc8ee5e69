"""Is a run worse than another? The gate for CI jobs: `python -m reports.comparison BASE NEW`."""
