"""Workers KV on this machine, in the files that miniflare and wrangler use."""
