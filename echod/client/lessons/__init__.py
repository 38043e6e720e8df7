"""The exercises of the course, for `echoctl lesson`: one module for each, and what they share."""
