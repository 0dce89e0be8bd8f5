"""Scripts for other processes are no tests."""

collect_ignore = ["two_ranks.py"]
