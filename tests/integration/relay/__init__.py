"""The relay between a hospital behind a firewall and a reader, in network namespaces."""
