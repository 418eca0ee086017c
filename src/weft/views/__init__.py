"""Looking at runs and plans: observers, and nothing depends on them."""
