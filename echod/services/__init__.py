"""What is answered: one file a kind. `echod.services.registry` finds them; docs/SERVICES.md describes them."""
