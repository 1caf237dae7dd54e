"""A communication identity service that speaks the wire contract of Azure Communication Services Identity."""

__version__ = "0.1.0"
