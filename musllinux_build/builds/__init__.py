"""What runs in the container, as data, and the flow that runs it."""
