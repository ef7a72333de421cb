"""The segment's ZeroTier network, through the API of the service that keeps it."""
