"""The command line: the only layer that reads the environment, picks adapters and exits."""
