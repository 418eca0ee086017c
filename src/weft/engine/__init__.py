"""Doing it: worker, driver, events."""
