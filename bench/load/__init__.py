"""The load client of the benchmarks, and the servers that ours is measured against."""
