"""Which pictures a run writes, and the process that draws them."""
