"""Which elements, blocks and jobs; pure."""
