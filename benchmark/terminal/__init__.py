"""What is printed, and the streams that it goes to."""
