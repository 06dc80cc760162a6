"""Reading wrangler configuration files."""
