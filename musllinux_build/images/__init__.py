"""Images: what they are made from, as data, and their building on an engine."""
