"""What is learned from an example: which of its tokens are shown and which carry loss."""
