"""The training loop, and the machine that it runs on."""
