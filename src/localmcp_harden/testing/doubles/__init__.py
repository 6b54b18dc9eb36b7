"""Fakes of the blocks: each passes the contract kit of the block it stands for."""
