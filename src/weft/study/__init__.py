"""What a study is at a moment: inputs, axes, identities, what is done, what is open. It calls nothing."""
