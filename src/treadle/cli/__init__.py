"""The command line: each command in a room of its own, loaded when it is called."""
