"""What a request over HTTP may look like: decisions of plain functions, without a server."""
