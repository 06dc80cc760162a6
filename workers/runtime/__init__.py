"""What runs a Worker: configuration, loading, bindings, dispatch and the edge that speaks HTTP."""
