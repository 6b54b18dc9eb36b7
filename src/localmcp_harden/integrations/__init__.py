"""The places where calls come in: one module for each server library or transport."""
