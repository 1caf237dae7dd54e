"""The two ways to start a server: `dev`, for a laptop and tests, and `serve`, for production."""
