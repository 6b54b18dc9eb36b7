"""The demo: real servers, real clients, a story that says beforehand what will happen."""
