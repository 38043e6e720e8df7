"""The pages that a browser gets on a WebSocket port: a try-it page, a chat page, and the list of services."""
