"""Ising lattices too large to be enumerated: judged by averages, which are exact or those of a long run."""
