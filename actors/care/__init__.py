"""Care for what a system keeps: moving it, checking it, backing it up, bringing it back. Each works on a database and a
storage root from outside; all but restore and import may run while the server serves."""
