"""What the user says: pure values."""
