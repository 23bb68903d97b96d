"""The three places a job's body can run: on the event loop, in a thread, in a child process."""
