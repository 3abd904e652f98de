"""Pages for people, rendered here from the same service functions as the JSON routes. No inline scripts, nothing from other hosts."""
