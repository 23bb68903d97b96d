"""One file for each queue under measurement. They run in that queue's own environment, so they import it and `desk` alone."""
