"""Sample traces: a trace store that looks like a real one, for the demo, the benchmarks and the tests.

It knows nothing of exports, and of `export_pipeline` only the errors and the default workspace.
"""
