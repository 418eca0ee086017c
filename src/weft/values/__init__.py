"""Values and columns of values, as bytes and back: what can be kept, and what identifies it."""
