"""What is asked for: constants, the command line, files of the user, and the checks of all of them."""
