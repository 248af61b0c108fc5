"""Pure decisions: aggregates, their commands, events, states and errors. No I/O, no clock, no random."""
