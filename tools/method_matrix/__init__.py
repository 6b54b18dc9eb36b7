"""Which message goes through the guards in which integration: asked, not claimed.

`python -m method_matrix` (in `tools/`) sends every method of both eras of the protocol to
a server hardened in each way, and writes what held to docs/reference/methods.md.
"""
