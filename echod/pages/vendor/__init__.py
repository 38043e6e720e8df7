"""Libraries of other authors that pages contain. Each has its licence beside it, and is unchanged."""
