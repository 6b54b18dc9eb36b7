"""What several blocks need and no user wires: no policy of its own."""
