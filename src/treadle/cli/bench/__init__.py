"""A short benchmark that anybody can run; the deep one, side by side with a bare loop, stands in `benchmarks/`."""
