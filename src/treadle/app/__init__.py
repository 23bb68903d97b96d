"""What users import: the app, its tasks, the calls they make, the handles they get back, and the operator's client."""
