"""Many runs: which they are, where they run, and what is made of all their results."""
