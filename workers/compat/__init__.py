"""What the official `workers` files stand on: plain-Python twins of the JavaScript objects a Worker meets."""
