"""Static files beside a Worker: which file answers which path, rules from `_headers` and `_redirects`, `env.ASSETS`."""
