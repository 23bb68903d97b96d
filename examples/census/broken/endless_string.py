GREETING = """A string that begins
and goes on, and on, and never ends.
