"""Where the loss of a family comes from: what its networks cannot do, what its own loss does not ask for, training."""
