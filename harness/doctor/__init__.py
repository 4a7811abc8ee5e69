"""`nicproof doctor`: what a machine can and cannot do, and how to mend it.

Each module here asks a Host about one matter and judges the answers by pure functions.
"""
