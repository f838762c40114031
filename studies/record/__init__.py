"""What was measured: the records of runs, and where they are kept."""
