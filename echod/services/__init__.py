"""The kinds of services, one file each. `echod.services.registry` finds them; docs/SERVICES.md describes them."""
