"""The page of a run or a sweep: one HTML file that shows what stands beside it."""
