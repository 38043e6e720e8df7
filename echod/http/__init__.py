"""HTTP/1.1 of a server: requests and responses as sessions, for the admin interface and for services."""
