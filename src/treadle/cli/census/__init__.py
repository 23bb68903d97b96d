"""The census: a demonstration on real input. Each source file is a job, each package a job, the report a job."""
