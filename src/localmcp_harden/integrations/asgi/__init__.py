"""A guard before any ASGI application: what HTTP brings is bounded, judged and recorded first."""

from .middleware import AsgiGuard, has_authentication

__all__ = ("AsgiGuard", "has_authentication")
