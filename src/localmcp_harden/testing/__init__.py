"""Fakes and contract kits."""
