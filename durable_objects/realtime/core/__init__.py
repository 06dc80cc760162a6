"""The realtime state machines. Pure: no await, clock, socket or database in this package."""
