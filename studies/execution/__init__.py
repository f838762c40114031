"""Many runs: which cells run, in what order, and where."""
