__version__: str
short_version: str
