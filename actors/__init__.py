"""The write side: owners (Ray actors), the event log, and all that touches the world."""
