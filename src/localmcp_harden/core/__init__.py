"""The ground: errors, the model of a call, ports and events. Standard library and attrs only."""
