"""Configuration, chain and facade: the only place that knows which implementation is used."""
