"""What runs jobs: one process of services around one table of what is in flight, under a supervisor."""
