"""The user's handle on a run."""
