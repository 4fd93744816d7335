"""What published wheels promise and whether they keep it: rows, what they add up to, and how they are shown."""
