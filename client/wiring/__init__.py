"""How each part of the node is wired: settings in, a part that runs until it is told to stop. `client.runtime` has the list."""
