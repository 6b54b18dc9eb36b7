"""Lines, streams and envelopes: the wire of JSON-RPC before anything is parsed."""
