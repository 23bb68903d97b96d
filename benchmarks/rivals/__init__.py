"""treadle beside other job queues, in one run, on the same servers and the same work. `make bench-rivals` runs it."""
