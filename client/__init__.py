"""A client of the public HTTP API, nothing else: what a user's own script would do."""
