"""Reaches a server of somebody else's, as a child process or over HTTP, within stated bounds."""
